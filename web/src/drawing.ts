// A label map that is drawn on: brush, fills and undo on plain arrays. Pure; knows no screen.

export type Triple = [number, number, number]

/** The part of a grid that an edit touched: first index and size along x, y, z. */
export interface Box {
  start: Triple
  size: Triple
}

interface Change {
  index: number[]
  before: number[]
}

const MAX_UNDO = 50

/** Voxels of a scan as bytes, x fastest, in the order of the screen (right, anterior, superior). */
export class Drawing {
  readonly dims: Triple
  readonly spacing: Triple
  readonly voxels: Uint8Array<ArrayBuffer>
  /** Voxels of each value, kept with every change. */
  private readonly counts = new Float64Array(256)
  private readonly changes: Change[] = []
  private open: Change | null = null
  private saved: Change | null = null

  constructor(dims: Triple, spacing: Triple, voxels?: Uint8Array<ArrayBuffer>) {
    this.dims = dims
    this.spacing = spacing
    this.voxels = voxels ?? new Uint8Array(dims[0] * dims[1] * dims[2])
    const all = this.voxels
    if (voxels) for (let i = 0; i < all.length; i++) this.counts[all[i]!]!++
    else this.counts[0] = all.length
  }

  /** Whether there is anything that has not been saved. */
  get unsaved(): boolean {
    return (this.changes[this.changes.length - 1] ?? null) !== this.saved
  }

  get canUndo(): boolean {
    return this.changes.length > 0
  }

  get empty(): boolean {
    return this.counts[0] === this.voxels.length
  }

  markSaved(): void {
    this.saved = this.changes[this.changes.length - 1] ?? null
  }

  /** Begin a stroke: what follows until `end` is undone in one go. */
  begin(): void {
    this.open = { index: [], before: [] }
  }

  /** End a stroke; false if it changed nothing. */
  end(): boolean {
    const change = this.open
    this.open = null
    if (!change || change.index.length === 0) return false
    this.changes.push(change)
    if (this.changes.length > MAX_UNDO) this.changes.shift()
    return true
  }

  /** Take the newest stroke back. Returns what it had touched, or null. */
  undo(): Box | null {
    const change = this.changes.pop()
    if (!change) return null
    for (let i = change.index.length - 1; i >= 0; i--) this.set(change.index[i]!, change.before[i]!)
    return this.around(change.index)
  }

  set(index: number, value: number): void {
    const before = this.voxels[index]!
    if (before === value) return
    this.open?.index.push(index)
    this.open?.before.push(before)
    this.counts[before]!--
    this.counts[value]!++
    this.voxels[index] = value
  }

  /** Paint a disc in the plane across `axis` (a ball where it is null) of `diameter` mm around a voxel.
   *
   * `only` limits it to voxels of that value, so that an eraser leaves other structures alone. */
  brush(centre: Triple, axis: number | null, diameter: number, value: number, only: number | null = null): Box {
    const { dims, spacing, voxels } = this
    const radius = diameter / 2
    const reach = spacing.map((mm, i) => (i === axis ? 0 : Math.floor(radius / mm))) as Triple
    const low = centre.map((at, i) => Math.max(0, at - reach[i]!)) as Triple
    const high = centre.map((at, i) => Math.min(dims[i]! - 1, at + reach[i]!)) as Triple
    for (let z = low[2]; z <= high[2]; z++) {
      for (let y = low[1]; y <= high[1]; y++) {
        for (let x = low[0]; x <= high[0]; x++) {
          const [dx, dy, dz] = [(x - centre[0]) * spacing[0], (y - centre[1]) * spacing[1], (z - centre[2]) * spacing[2]]
          if (dx * dx + dy * dy + dz * dz > radius * radius && dx * dx + dy * dy + dz * dz > 0) continue
          const index = x + dims[0] * (y + dims[1] * z)
          if (only === null || voxels[index] === only) this.set(index, value)
        }
      }
    }
    return { start: low, size: high.map((at, i) => at - low[i]! + 1) as Triple }
  }

  /** Brush along a line, so that a fast hand leaves no gaps. */
  line(from: Triple, to: Triple, axis: number | null, diameter: number, value: number, only: number | null = null): Box {
    const steps = Math.max(1, ...from.map((at, i) => Math.abs(to[i]! - at)))
    let touched: Box | null = null
    for (let step = 0; step <= steps; step++) {
      const at = from.map((start, i) => Math.round(start + ((to[i]! - start) * step) / steps)) as Triple
      touched = union(touched, this.brush(at, axis, diameter, value, only))
    }
    return touched!
  }

  /** Fill the region of one value around a voxel: in a plane across `axis`, or in 3D where it is null.
   *
   * Does nothing where the region reaches the border of the grid, as it is not enclosed there. */
  fill(seed: Triple, axis: number | null, value: number): Box | null {
    const from = this.voxels[this.index(seed)]!
    if (from === value) return null
    const region = this.connected(seed, axis, (index) => this.voxels[index] === from)
    if (region === null) return null
    for (const index of region) this.set(index, value)
    return this.around(region)
  }

  /** Grow over neighbours in 3D whose intensity is within `tolerance` of the seed's, at most `reach` mm away.
   *
   * Single voxels left out by noise are taken in: those with four or more neighbours in the region. */
  grow(seed: Triple, intensity: ArrayLike<number>, tolerance: number, reach: number, value: number): Box | null {
    const middle = intensity[this.index(seed)]!
    const { dims, spacing } = this
    const inside = (index: number): boolean => {
      if (this.voxels[index] !== 0 && this.voxels[index] !== value) return false
      if (Math.abs(intensity[index]! - middle) > tolerance) return false
      const x = (index % dims[0]) - seed[0]
      const y = (Math.floor(index / dims[0]) % dims[1]) - seed[1]
      const z = Math.floor(index / (dims[0] * dims[1])) - seed[2]
      return (x * spacing[0]) ** 2 + (y * spacing[1]) ** 2 + (z * spacing[2]) ** 2 <= reach * reach
    }
    const region = this.connected(seed, null, inside, true)
    if (region === null) return null
    for (const index of region) this.set(index, value)
    for (const index of this.pits(region)) this.set(index, value)
    return this.around(region)
  }

  /** Empty all voxels of one value. */
  clear(value: number): void {
    for (let i = this.voxels.indexOf(value); i >= 0; i = this.voxels.indexOf(value, i + 1)) this.set(i, 0)
  }

  /** Fill the slices across `axis` that lie between two drawn ones, of one value, and that hold none of it.
   *
   * The outline moves evenly from one to the other (signed distances, mixed by place). */
  between(axis: number, value: number): void {
    const box = this.box(value)
    if (box === null) return
    const [u, v] = [0, 1, 2].filter((i) => i !== axis) as [number, number]
    const step = [1, this.dims[0], this.dims[0] * this.dims[1]]
    const spacing: [number, number] = [this.spacing[u]!, this.spacing[v]!]
    // One pixel of nothing around what is drawn, so that every outline is closed.
    const size: [number, number] = [box.size[u]! + 2, box.size[v]! + 2]
    const visit = (slice: number, pixel: (i: number, index: number) => void): void => {
      for (let y = 0; y < box.size[v]!; y++) {
        const row = slice * step[axis]! + box.start[u]! * step[u]! + (box.start[v]! + y) * step[v]!
        for (let x = 0; x < box.size[u]!; x++) pixel(x + 1 + size[0] * (y + 1), row + x * step[u]!)
      }
    }
    let last: { slice: number; distance: Float32Array } | null = null
    for (let slice = box.start[axis]!; slice < box.start[axis]! + box.size[axis]!; slice++) {
      const mask = new Uint8Array(size[0] * size[1])
      visit(slice, (i, index) => (mask[i] = this.voxels[index] === value ? 1 : 0))
      if (!mask.includes(1)) continue
      const before: typeof last = last
      const distance = signedDistance(mask, size, spacing)
      for (let middle = (before?.slice ?? slice) + 1; before && middle < slice; middle++) {
        const share = (middle - before.slice) / (slice - before.slice)
        visit(middle, (i, index) => {
          const mixed = before.distance[i]! * (1 - share) + distance[i]! * share
          if (mixed < 0 && this.voxels[index] === 0) this.set(index, value)
        })
      }
      last = { slice, distance }
    }
  }

  /** The box around all voxels of a value, or null where it has none. */
  private box(value: number): Box | null {
    const span = new Span()
    this.each(value, (x, y, z) => span.add(x, y, z))
    return span.box
  }

  /** The voxel of a value nearest to the middle of all its voxels, or null where it has none. */
  middle(value: number): Triple | null {
    const sum = [0, 0, 0]
    let count = 0
    this.each(value, (x, y, z) => {
      sum[0]! += x
      sum[1]! += y
      sum[2]! += z
      count++
    })
    let best: Triple | null = null
    let nearest = Infinity
    this.each(value, (x, y, z) => {
      const apart = (x - sum[0]! / count) ** 2 + (y - sum[1]! / count) ** 2 + (z - sum[2]! / count) ** 2
      if (apart >= nearest) return
      nearest = apart
      best = [x, y, z]
    })
    return best
  }

  /** Voxels of each value that there is. */
  count(): Map<number, number> {
    return new Map([...this.counts].map((n, value): [number, number] => [value, n]).filter(([value, n]) => value && n))
  }

  index(at: Triple): number {
    return at[0] + this.dims[0] * (at[1] + this.dims[1] * at[2])
  }

  private each(value: number, visit: (x: number, y: number, z: number) => void): void {
    const [nx, ny] = this.dims
    for (let i = this.voxels.indexOf(value); i >= 0; i = this.voxels.indexOf(value, i + 1)) {
      visit(i % nx, Math.floor(i / nx) % ny, Math.floor(i / (nx * ny)))
    }
  }

  private connected(
    seed: Triple,
    axis: number | null,
    inside: (index: number) => boolean,
    toBorder = false,
  ): number[] | null {
    const { dims } = this
    const step = [1, dims[0], dims[0] * dims[1]]
    const seen = new Uint8Array(this.voxels.length)
    const region = [this.index(seed)]
    seen[region[0]!] = 1
    for (let next = 0; next < region.length; next++) {
      const index = region[next]!
      const place = [index % dims[0], Math.floor(index / dims[0]) % dims[1], Math.floor(index / step[2]!)]
      for (let i = 0; i < 3; i++) {
        if (i === axis) continue
        if (!toBorder && (place[i] === 0 || place[i] === dims[i]! - 1)) return null
        for (const side of [-1, 1]) {
          const to = place[i]! + side
          const other = index + side * step[i]!
          if (to < 0 || to >= dims[i]! || seen[other] || !inside(other)) continue
          seen[other] = 1
          region.push(other)
        }
      }
    }
    return region
  }

  /** Empty voxels of which at least four of six neighbours are in a region. */
  private pits(region: number[]): number[] {
    const { dims } = this
    const sides = new Map<number, number>()
    for (const index of region) {
      const place = [index % dims[0], Math.floor(index / dims[0]) % dims[1], Math.floor(index / (dims[0] * dims[1]))]
      for (const [i, step] of [1, dims[0], dims[0] * dims[1]].entries()) {
        for (const side of [-1, 1]) {
          const to = place[i]! + side
          const other = index + side * step
          if (to < 0 || to >= dims[i]! || this.voxels[other] !== 0) continue
          sides.set(other, (sides.get(other) ?? 0) + 1)
        }
      }
    }
    return [...sides].filter(([, count]) => count >= 4).map(([index]) => index)
  }

  private around(indices: number[]): Box | null {
    const [nx, ny] = this.dims
    const span = new Span()
    for (const index of indices) span.add(index % nx, Math.floor(index / nx) % ny, Math.floor(index / (nx * ny)))
    return span.box
  }
}

/** The box around places, one after the other. */
class Span {
  private readonly low: Triple = [Infinity, Infinity, Infinity]
  private readonly high: Triple = [-1, -1, -1]

  add(x: number, y: number, z: number): void {
    const { low, high } = this
    if (x < low[0]) low[0] = x
    if (y < low[1]) low[1] = y
    if (z < low[2]) low[2] = z
    if (x > high[0]) high[0] = x
    if (y > high[1]) high[1] = y
    if (z > high[2]) high[2] = z
  }

  get box(): Box | null {
    if (this.high[0] < 0) return null
    return { start: [...this.low], size: this.high.map((at, i) => at - this.low[i]! + 1) as Triple }
  }
}

/** The smallest box around two. */
export function union(a: Box | null, b: Box): Box {
  if (a === null) return b
  const start = a.start.map((at, i) => Math.min(at, b.start[i]!)) as Triple
  const size = start.map((at, i) => Math.max(a.start[i]! + a.size[i]!, b.start[i]! + b.size[i]!) - at) as Triple
  return { start, size }
}

/** Distance in mm of each pixel to the outline of a mask, negative inside (two chamfer passes). */
export function signedDistance(mask: Uint8Array, size: [number, number], spacing: [number, number]): Float32Array {
  const outside = distanceTo(mask, 1, size, spacing)
  const inside = distanceTo(mask, 0, size, spacing)
  return outside.map((distance, i) => (mask[i] ? -inside[i]! : distance))
}

function distanceTo(mask: Uint8Array, value: number, size: [number, number], spacing: [number, number]): Float32Array {
  const [w, hgt] = size
  const [dx, dy] = spacing
  const diagonal = Math.hypot(dx, dy)
  const far = new Float32Array(mask.length).map((_, i) => (mask[i] === value ? 0 : 1e9))
  const relax = (i: number, x: number, y: number, cost: number): void => {
    if (x < 0 || y < 0 || x >= w || y >= hgt) return
    const through = far[x + w * y]! + cost
    if (through < far[i]!) far[i] = through
  }
  const pass = (x: number, y: number, way: 1 | -1): void => {
    const i = x + w * y
    relax(i, x - way, y, dx)
    relax(i, x, y - way, dy)
    relax(i, x - way, y - way, diagonal)
    relax(i, x + way, y - way, diagonal)
  }
  for (let y = 0; y < hgt; y++) for (let x = 0; x < w; x++) pass(x, y, 1)
  for (let y = hgt - 1; y >= 0; y--) for (let x = w - 1; x >= 0; x--) pass(x, y, -1)
  return far
}
