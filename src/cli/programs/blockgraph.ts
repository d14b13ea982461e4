// The program blockgraph; scripts/bundle.js puts it into one folder with what it needs.

import { launch } from '../launch.js'
import { main } from '../main.js'

launch(main)
