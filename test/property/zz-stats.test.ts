import * as fc from 'fast-check'
import { it } from 'vitest'
import { graphModelProperty } from '/work/main/src/testing/model/property.js'
it('stats', async () => {
  const t0 = performance.now()
  const tally: Record<string, number> = {}; let runs=0, requests=0, edits=0, steps=0, nodes=0
  try {
  await fc.assert(graphModelProperty((w) => { runs++; requests+=w.submitted; edits+=w.edits.length; steps+=w.steps; nodes+=w.everNodes.size; for (const e of w.edits) { const k=e.what.replace(/[#]?\b[nb]\d+f?\b/g,'_').replace(/\{.*/,'').replace(/[\d/,]+/g,'') + ':' + e.outcome; tally[k]=(tally[k]??0)+1 } }), { seed: Number(process.env.SEED ?? 1), numRuns: Number(process.env.RUNS ?? 1000), endOnFailure: process.env.NOSHRINK==='1' })
  } finally { console.log(Object.entries(tally).sort().map(([k,v])=>k+' '+v).join('\n')); console.log({runs, requests, edits, steps, nodes, ms: performance.now()-t0}) }
}, 600000)
