#!/usr/bin/env node
require('../dist/programs/blockgraph-img.cjs')
