import { expect, test } from 'vitest'
import { Drawing, signedDistance, union, type Triple } from '../src/drawing'

function stroke(drawing: Drawing, act: () => unknown): boolean {
  drawing.begin()
  act()
  return drawing.end()
}

function places(drawing: Drawing, value: number): Triple[] {
  const [nx, ny] = drawing.dims
  return [...drawing.voxels].flatMap((v, i) => (v === value ? [[i % nx, Math.floor(i / nx) % ny, Math.floor(i / nx / ny)] as Triple] : []))
}

test.each([0, 1, 2])('a disc lies in one plane, is round in mm and stays in the grid (axis %i)', (axis) => {
  const drawing = new Drawing([20, 21, 22], [1, 2, 3])
  const centre: Triple = [1, 10, 11]
  drawing.brush(centre, axis, 12, 7)
  const want: Triple[] = []
  for (let z = 0; z < 22; z++) for (let y = 0; y < 21; y++) for (let x = 0; x < 20; x++) {
    const apart = Math.hypot(x - 1, 2 * (y - 10), 3 * (z - 11))
    if ([x, y, z][axis] === centre[axis] && apart <= 6) want.push([x, y, z])
  }
  expect(places(drawing, 7)).toEqual(want)
})

test('the smallest brush paints the voxel under it, whatever its size', () => {
  const drawing = new Drawing([5, 5, 5], [3, 3, 3])
  drawing.brush([2, 2, 2], 2, 1, 1)
  expect(places(drawing, 1)).toEqual([[2, 2, 2]])
})

test('a ball paints through slices', () => {
  const drawing = new Drawing([9, 9, 9], [1, 1, 1])
  drawing.brush([4, 4, 4], null, 4, 1)
  expect(places(drawing, 1)).toHaveLength(33)
})

test('a fast hand leaves no gap, and the box told holds all it painted', () => {
  const drawing = new Drawing([30, 30, 3], [1, 1, 1])
  const box = drawing.line([2, 2, 1], [25, 14, 1], 2, 1, 1)
  const line = places(drawing, 1)
  for (let i = 2; i <= 25; i++) expect(line.some(([x]) => x === i)).toBe(true)
  for (const place of line) place.forEach((at, i) => {
    expect(at).toBeGreaterThanOrEqual(box.start[i]!)
    expect(at).toBeLessThan(box.start[i]! + box.size[i]!)
  })
})

test('the eraser takes only from its own structure', () => {
  const drawing = new Drawing([5, 1, 1], [1, 1, 1], new Uint8Array([1, 2, 1, 2, 0]))
  drawing.line([0, 0, 0], [4, 0, 0], 2, 1, 0, 1)
  expect([...drawing.voxels]).toEqual([0, 2, 0, 2, 0])
})

test('undo takes strokes back one by one, to the byte', () => {
  const start = Uint8Array.from({ length: 125 }, (_, i) => i % 3)
  const drawing = new Drawing([5, 5, 5], [1, 1, 1], start.slice())
  const states = [start]
  for (let n = 0; n < 4; n++) {
    stroke(drawing, () => drawing.line([n, 0, n], [4 - n, 4, n], 2, 1 + n, 3 + n))
    states.push(drawing.voxels.slice())
  }
  for (let n = 3; n >= 0; n--) {
    expect(drawing.undo()).not.toBeNull()
    expect(drawing.voxels).toEqual(states[n])
  }
  expect(drawing.undo()).toBeNull()
})

test('unsaved is what differs from the last save, also after undo', () => {
  const drawing = new Drawing([5, 5, 1], [1, 1, 1])
  expect(drawing.unsaved).toBe(false)
  stroke(drawing, () => drawing.brush([1, 1, 0], 2, 1, 1))
  expect(drawing.unsaved).toBe(true)
  drawing.markSaved()
  expect(drawing.unsaved).toBe(false)
  stroke(drawing, () => drawing.brush([3, 3, 0], 2, 1, 1))
  expect(drawing.unsaved).toBe(true)
  drawing.undo()
  expect(drawing.unsaved).toBe(false)
  drawing.undo()
  expect(drawing.unsaved).toBe(true)
})

test('a stroke that changes nothing is no stroke', () => {
  const drawing = new Drawing([3, 3, 3], [1, 1, 1])
  expect(stroke(drawing, () => drawing.clear(4))).toBe(false)
  expect(drawing.canUndo).toBe(false)
  expect(drawing.unsaved).toBe(false)
})

function ring(): Drawing {
  const drawing = new Drawing([9, 9, 3], [1, 1, 1])
  for (let i = 2; i <= 6; i++) for (const [x, y] of [[i, 2], [i, 6], [2, i], [6, i]] as const) drawing.set(x + 9 * (y + 9), 1)
  return drawing
}

test('fill closes an outline in its slice, and nothing where the outline is open', () => {
  const drawing = ring()
  expect(drawing.fill([4, 4, 1], 2, 1)).toEqual({ start: [3, 3, 1], size: [3, 3, 1] })
  expect(places(drawing, 1)).toHaveLength(25)
  const open = ring()
  open.set(4 + 9 * (2 + 9), 0)
  expect(open.fill([4, 4, 1], 2, 1)).toBeNull()
  expect(open.fill([2, 2, 1], 2, 1)).toBeNull()
})

test('grow takes like neighbours in 3D, within its reach, and leaves other structures', () => {
  const intensity = new Float32Array(7 * 7 * 7).fill(100)
  const drawing = new Drawing([7, 7, 7], [1, 1, 1])
  intensity[3 + 7 * (3 + 7 * 4)] = 150
  drawing.set(3 + 7 * (4 + 7 * 3), 2)
  drawing.grow([3, 3, 3], intensity, 10, 1, 1)
  expect(places(drawing, 1)).toEqual([[3, 3, 2], [3, 2, 3], [2, 3, 3], [3, 3, 3], [4, 3, 3]])
  expect(places(drawing, 2)).toEqual([[3, 4, 3]])
})

test('between two drawn slices the outline moves evenly, and other structures stay', () => {
  const drawing = new Drawing([21, 21, 9], [1, 1, 1])
  drawing.brush([10, 10, 2], 2, 6, 1)
  drawing.brush([10, 10, 6], 2, 14, 1)
  drawing.brush([10, 10, 4], 2, 1, 2)
  drawing.between(2, 1)
  const areas = Array.from({ length: 9 }, (_, z) => places(drawing, 1).filter((at) => at[2] === z).length)
  expect(areas[0]).toBe(0)
  expect(areas[7]).toBe(0)
  const [a, b, c, d, e] = areas.slice(2, 7) as [number, number, number, number, number]
  expect(a < b && b < c + 1 && c < d && d < e).toBe(true)
  expect(drawing.voxels[drawing.index([10, 10, 4])]).toBe(2)
  // The middle slice has the mean radius, 5 mm.
  expect(c + 1).toBeGreaterThan(0.8 * Math.PI * 25)
  expect(c + 1).toBeLessThan(1.25 * Math.PI * 25)
})

test('signed distance is negative inside and grows in mm', () => {
  const mask = new Uint8Array(49)
  mask[24] = 1
  const distance = signedDistance(mask, [7, 7], [1, 2])
  expect(distance[24]).toBe(-1)
  expect(distance[25]).toBe(1)
  expect(distance[24 + 7]).toBe(2)
  expect(distance[27]).toBe(3)
})

test('the middle of a structure is a voxel of it', () => {
  const drawing = ring()
  const [x, y, z] = drawing.middle(1)!
  expect(drawing.voxels[drawing.index([x, y, z])]).toBe(1)
  expect(drawing.middle(5)).toBeNull()
  expect(drawing.count()).toEqual(new Map([[1, 16]]))
})

test('the union of two boxes holds both', () => {
  expect(union({ start: [1, 5, 0], size: [2, 1, 1] }, { start: [0, 2, 3], size: [1, 9, 1] })).toEqual({ start: [0, 2, 0], size: [3, 9, 4] })
})

test.each([0, 1, 2])('slices between two rectangles are rectangles, across axis %i and in a full frame', (axis) => {
  const dims: Triple = [5, 5, 5]
  const drawing = new Drawing(dims, [1, 1, 1])
  for (let i = 0; i < 125; i++) {
    const place = [i % 5, Math.floor(i / 5) % 5, Math.floor(i / 25)]
    if (place[axis] === 0 || place[axis] === 4) drawing.set(i, 3)
  }
  expect(stroke(drawing, () => drawing.between(axis, 3))).toBe(true)
  expect(drawing.count()).toEqual(new Map([[3, 125]]))
  drawing.undo()
  expect(drawing.count()).toEqual(new Map([[3, 50]]))
})

test('grow takes in single voxels that noise left out, and no more', () => {
  const intensity = new Float32Array(9 * 9 * 9)
  const drawing = new Drawing([9, 9, 9], [1, 1, 1])
  for (let z = 2; z <= 6; z++) for (let y = 2; y <= 6; y++) for (let x = 2; x <= 6; x++) intensity[drawing.index([x, y, z])] = 100
  intensity[drawing.index([4, 4, 3])] = 40
  const box = drawing.grow([4, 4, 5], intensity, 10, 40, 1)
  expect(drawing.count()).toEqual(new Map([[1, 125]]))
  expect(box).toEqual({ start: [2, 2, 2], size: [5, 5, 5] })
})
