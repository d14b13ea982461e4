#!/usr/bin/env node
import { main } from '../dist/cli/io/main.js'

process.exitCode = await main(process.argv.slice(2))
