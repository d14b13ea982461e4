#!/usr/bin/env node
import '../dist/programs/blockgraph.js'
