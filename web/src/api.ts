// What the server answers, and the one place that talks to it.

export interface Structure {
  name: string
  value: number
  colour: string
}

export interface Dice {
  itself: number | null
  others: number | null
  affine: number | null
}

export interface Round {
  round: number
  references: string[]
  structures: string[]
  dice: Record<string, Dice>
  segmented: number
}

export interface Project {
  name: string
  version: string
  model: string
  scans: number
  structures: Structure[]
  references: string[]
  round: number
  rounds: Round[]
  stale: boolean
  commands: { task?: string; segment?: string }
}

export type CaseState = 'new' | 'drawn' | 'reference' | 'segmented' | 'fault'

export interface Case {
  id: string
  state: CaseState
  segmented: boolean
  modality: string | null
  shape: number[] | null
  spacing_mm: number[] | null
  agreement: number | null
  expected_dice: number | null
  volumes_ml: Record<string, number>
  notes: string[]
  error: string | null
  drawn: boolean
  corrected: boolean
  reference: boolean
  revision: string
}

export type JobKind = 'task' | 'segment' | 'both'
export type JobState = 'queued' | 'running' | 'done' | 'failed' | 'cancelled' | 'interrupted'

export interface Job {
  id: number
  kind: JobKind
  round: number
  state: JobState
  done: number
  total: number
  told: string
  command: string
  started: string | null
  ended: string | null
  error: string | null
}

export type Labels = 'drawn' | 'found' | 'start'

/** A sentence to be shown, with what the server found, expected and proposes. */
export class ApiError extends Error {
  readonly status: number
  readonly fix: string

  constructor(status: number, message: string, fix = '') {
    super(message)
    this.status = status
    this.fix = fix
  }
}

async function failure(answer: Response): Promise<ApiError> {
  try {
    const { error } = (await answer.json()) as { error: { message?: string; fix?: string } }
    if (error.message) return new ApiError(answer.status, error.message, error.fix ?? '')
  } catch {
    // Not ours: an answer of a proxy, or none that could be read.
  }
  if (answer.status === 403) {
    return new ApiError(403, 'This page is not let in. Open it with the address that mass3d printed.')
  }
  return new ApiError(answer.status, `The server answered ${answer.status} ${answer.statusText}.`)
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  let answer: Response
  try {
    answer = await fetch(path, { credentials: 'same-origin', ...init })
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw new ApiError(0, 'The server does not answer. Is mass3d serve still running?')
  }
  if (!answer.ok) throw await failure(answer)
  return answer
}

function change(method: string, path: string, body?: BodyInit, type = 'application/json'): Promise<Response> {
  const headers: Record<string, string> = { 'X-Mass3d': '1' }
  if (body !== undefined) headers['Content-Type'] = type
  return ask(path, body === undefined ? { method, headers } : { method, headers, body })
}

async function json<T>(answer: Promise<Response>): Promise<T> {
  return (await (await answer).json()) as T
}

/** Address of something of a case; ids may hold any character but a slash. */
export function caseAddress(id: string, rest: string): string {
  return `/api/cases/${encodeURIComponent(id)}/${rest}`
}

export function thumbnailAddress(scan: Case): string {
  return caseAddress(scan.id, `thumbnail.jpg?v=${encodeURIComponent(scan.revision)}`)
}

/** A volume as bytes, and the window its values are shown with ([NaN, NaN] where none is told). */
export interface Volume {
  bytes: ArrayBuffer
  window: [number, number]
}

function toldWindow(text: string | null): [number, number] {
  const [low, high] = (text ?? '').split(' ').map(Number)
  return low !== undefined && high !== undefined && high > low ? [low, high] : [NaN, NaN]
}

export const api = {
  project: (): Promise<Project> => json(ask('/api/project')),
  /** Cases in the server's order, worst first. The browser's cache answers where nothing changed. */
  cases: async (): Promise<Case[]> => (await json<{ cases: Case[] }>(ask('/api/cases', { cache: 'no-cache' }))).cases,
  jobs: (): Promise<Job[]> => json(ask('/api/jobs')),
  setStructures: (list: Partial<Structure>[]): Promise<Project> =>
    json(change('PUT', '/api/structures', JSON.stringify(list))),
  start: (kind: JobKind): Promise<Job> => json(change('POST', '/api/jobs', JSON.stringify({ kind }))),
  cancel: (id: number): Promise<Job> => json(change('POST', `/api/jobs/${id}/cancel`)),
  resume: (id: number): Promise<Job> => json(change('POST', `/api/jobs/${id}/resume`)),
  setReference: async (id: string, use: boolean): Promise<void> => {
    await change('PUT', caseAddress(id, 'reference'), JSON.stringify({ use }))
  },
  image: async (id: string, level: 'small' | 'full', signal: AbortSignal | null = null): Promise<Volume> => {
    const answer = await ask(caseAddress(id, `image.nii?level=${level}`), { signal })
    const window = toldWindow(answer.headers.get('X-Mass3d-Window'))
    return { bytes: await answer.arrayBuffer(), window }
  },
  /** The label map of a case, or null where there is none. */
  labels: async (id: string, which: Labels, signal: AbortSignal): Promise<ArrayBuffer | null> => {
    try {
      const path = caseAddress(id, `labels.nii?which=${which}`)
      return await (await ask(path, { signal, cache: 'no-cache' })).arrayBuffer()
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null
      throw error
    }
  },
  saveLabels: (id: string, bytes: Uint8Array<ArrayBuffer>): Promise<{ volumes_ml: Record<string, number> }> =>
    json(change('PUT', caseAddress(id, 'labels'), bytes, 'application/octet-stream')),
  deleteLabels: async (id: string): Promise<void> => {
    await change('DELETE', caseAddress(id, 'labels'))
  },
  file: async (path: string): Promise<Blob> => (await ask(path)).blob(),
}
