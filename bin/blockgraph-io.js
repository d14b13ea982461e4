#!/usr/bin/env node
require('../dist/programs/blockgraph-io.cjs')
