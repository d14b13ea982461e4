// The program blockgraph-img; scripts/bundle.js puts it into one folder with what it needs.

import { main } from '../img/main.js'
import { launch } from '../launch.js'

launch(main)
