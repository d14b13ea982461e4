#!/usr/bin/env node
import { tuneEngine } from '../dist/cli/engine.js'
import { main } from '../dist/cli/img/main.js'

tuneEngine()
process.exitCode = await main(process.argv.slice(2))
