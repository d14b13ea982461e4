import { Graphviz } from '@hpcc-js/wasm-graphviz'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { HBitmap } from '../../../src/common/hbitmap.js'
import { GiB } from '../../../src/common/units.js'
import {
  type DescribableBackend,
  type DescribableEdge,
  type DescribableNode,
  describeGraph,
  type GraphDescription,
} from '../../../src/global-state/describe-graph.js'
import { graphToDot, graphToMermaid } from '../../../src/global-state/graph-picture.js'
import { newBitmap } from '../../../src/io/dirty-bitmap.js'

interface StubNode extends DescribableNode {
  children: DescribableEdge[]
  parents: Set<DescribableEdge>
}

function node(
  nodeName: string,
  driver: string,
  kind: 'protocol' | 'format' | 'filter',
  more: Partial<DescribableNode> = {},
): StubNode {
  const state = { length: 1.5 * GiB, quiesceCounter: 0, inFlight: 0, first: undefined, bitmaps: [], ...more.state }
  return {
    nodeName,
    driver: { name: driver, kind },
    readOnly: false,
    inactive: false,
    ...more,
    state,
    children: [],
    parents: new Set(),
  }
}

function link(
  parent: StubNode | string,
  child: StubNode,
  name: string,
  role: number,
  perm: number,
  shared: number,
  more = {},
): DescribableEdge {
  const own = typeof parent === 'string' ? undefined : parent
  const hooks = { node: own, describe: () => (typeof parent === 'string' ? parent : `node '${parent.nodeName}'`) }
  const edge = { name, role, node: child, perm, shared, frozen: false, quiesced: false, parent: hooks, ...more }
  own?.children.push(edge)
  child.parents.add(edge)
  return edge
}

function example(): { nodes: Map<string, DescribableNode>; backends: DescribableBackend[] } {
  const bitmap = { ...newBitmap(new HBitmap(GiB, 65536), true), name: 'b0' }
  bitmap.bits.set(0, 1)
  const request = { kind: 'write' as const, offset: 512, bytes: 1024, serialising: true, next: undefined }
  const top = node('top', 'qcow2', 'format', {
    options: { filename: 'ignored-by-nobody.qcow2' },
    state: { length: GiB, quiesceCounter: 1, inFlight: 1, first: request, bitmaps: [bitmap] },
    hasOpBlockers: true,
    opBlockers: new Map([['resize', [{ message: 'a job runs' }]]]),
  })
  const throttle = node('#block001', 'throttle', 'filter')
  const file = node('disk-file', 'file', 'protocol', { options: { filename: '/images/a "quoted" disk.img' } })
  const base = node('base', 'raw', 'format', { readOnly: true, inactive: true })
  link(throttle, top, 'file', 20, 3, 1)
  link(top, file, 'file', 19, 11, 1)
  link(top, base, 'backing', 8, 1, 5, { frozen: true })
  const root = link("block device 'virtio0'", throttle, 'root', 20, 3, 5, { quiesced: true })
  link("job 'commit'", base, 'main node', 0, 0, 15)
  const nodes = new Map([throttle, top, file, base].map((each) => [each.nodeName, each]))
  return {
    nodes,
    backends: [
      { name: 'virtio0', root: { edge: root, inFlight: 2 } },
      { name: undefined, root: { edge: undefined } },
    ],
  }
}

describe('describeGraph', () => {
  const described = describeGraph(example())

  it('is plain data', () => {
    expect(JSON.parse(JSON.stringify(described))).toEqual(described)
  })

  it('says everything of a node', () => {
    expect(described.nodes.map((each) => each.name)).toEqual(['#block001', 'top', 'disk-file', 'base'])
    expect(described.nodes[1]).toEqual({
      id: 'node:top',
      name: 'top',
      driver: 'qcow2',
      kind: 'format',
      length: GiB,
      readOnly: false,
      inactive: false,
      filename: 'ignored-by-nobody.qcow2',
      perm: ['consistent-read', 'write'],
      shared: ['consistent-read'],
      quiesceCounter: 1,
      inFlight: 1,
      requests: [{ kind: 'write', offset: 512, bytes: 1024, serialising: true }],
      bitmaps: [expect.objectContaining({ name: 'b0', count: 65536, recording: true })],
      opBlockers: { resize: ['a job runs'] },
    })
  })

  it('joins what all users of a node do and let others do', () => {
    // The overlay reads and shares reads and unchanged writes; the job does nothing and shares everything.
    const base = described.nodes[3]
    expect([base?.perm, base?.shared]).toEqual([['consistent-read'], ['consistent-read', 'write-unchanged']])
  })

  it('says who holds what', () => {
    expect(described.roots).toEqual([
      { id: 'backend:virtio0', kind: 'backend', name: 'virtio0', inFlight: 2 },
      { id: 'backend:#1', kind: 'backend', name: '', inFlight: 0 },
      { id: 'user:0', kind: 'user', name: "job 'commit'", inFlight: 0 },
    ])
    expect(described.edges.map(({ from, to, name }) => `${from} ${name} ${to}`)).toEqual([
      'backend:virtio0 root node:#block001',
      'user:0 main node node:base',
      'node:#block001 file node:top',
      'node:top file node:disk-file',
      'node:top backing node:base',
    ])
    expect(described.edges[4]).toMatchObject({
      role: ['cow'],
      perm: ['consistent-read'],
      frozen: true,
      quiesced: false,
    })
  })
})

describe('pictures', () => {
  let graphviz: Graphviz
  beforeAll(async () => {
    graphviz = await Graphviz.load()
  })

  /** The text of an SVG's labels, entities decoded. */
  const textOf = (svg: string) =>
    [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text = '']) =>
      text
        .replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
        .replaceAll('&quot;', '"')
        .replaceAll('&lt;', '<')
        .replaceAll('&gt;', '>')
        .replaceAll('&amp;', '&'),
    )

  it('in DOT draw every node, root and edge', () => {
    const description = describeGraph(example())
    const svg = graphviz.dot(graphToDot(description), 'svg')
    const text = textOf(svg)
    for (const each of description.nodes) expect(text).toContain(each.name)
    expect(text).toContain('virtio0')
    expect(text).toContain('/images/a "quoted" disk.img')
    expect(text).toContain('uses r w')
    expect(text).toContain('shares r')
    expect(text).toContain('drained 1x')
    expect(text).toContain('backing frozen')
    expect(text.filter((line) => line.endsWith('in flight'))).toEqual(['2 in flight', '1 in flight'])
    expect(svg.match(/class="edge"/g)).toHaveLength(description.edges.length)
    expect(svg.match(/class="node"/g)).toHaveLength(description.nodes.length + description.roots.length)
  })

  it('in Mermaid have one line for every node, root and edge', () => {
    const text = graphToMermaid(describeGraph(example()))
    expect(text).toContain('n3{{"#35;block001<br/>throttle, 1.5 GiB"}}:::filter')
    expect(text).toContain('n5[("disk-file<br/>file, 1.5 GiB<br/>/images/a #34;quoted#34; disk.img")]:::protocol')
    expect(text).toContain('n4 ==>|"backing frozen<br/>uses r<br/>shares r u"| n6')
    expect(text.match(/:::drained/g)).toHaveLength(1)
  })

  it('of hostile names stay one picture', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 60 }), fc.string({ maxLength: 20 }), (filename, name) => {
        const hostile = node(`x${name}`, 'file', 'protocol', { options: { filename } })
        const description: GraphDescription = describeGraph({ nodes: new Map([['x', hostile]]), backends: [] })
        const svg = graphviz.dot(graphToDot(description), 'svg')
        expect(svg.match(/class="node"/g)).toHaveLength(1)
        expect(svg).not.toContain('class="edge"')
        expect(graphToMermaid(description).split('\n')).toHaveLength(7)
      }),
      { numRuns: 60 },
    )
  })
})
