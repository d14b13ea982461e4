#!/usr/bin/env node
import '../dist/programs/blockgraph-img.js'
