#!/usr/bin/env node
import { tuneEngine } from '../dist/cli/engine.js'
import { main } from '../dist/cli/io/main.js'

tuneEngine()
process.exitCode = await main(process.argv.slice(2))
