// The program blockgraph-io; scripts/bundle.js puts it into one folder with what it needs.

import { main } from '../io/main.js'
import { launch } from '../launch.js'

launch(main)
