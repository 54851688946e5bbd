// What a job is to the reader: words, a share, and what can be done about it. Pure.
import type { Job, JobKind, JobState, Project, Round } from './api'

const ENDED: ReadonlySet<JobState> = new Set(['done', 'failed', 'cancelled', 'interrupted'])
const STATES: Record<JobState, string> = {
  queued: 'waiting',
  running: 'running',
  done: 'done',
  failed: 'failed',
  cancelled: 'cancelled',
  interrupted: 'interrupted',
}
const KINDS = { task: 'Making the task', segment: 'Segmenting the cohort', both: 'Task and cohort' }

export function isActive(job: Job): boolean {
  return !ENDED.has(job.state)
}

/** Milliseconds until the server is asked again. */
export function pollDelay(jobs: Job[]): number {
  return jobs.some(isActive) ? 1500 : 10_000
}

/** The job to be shown: one that runs, else the newest. */
export function shownJob(jobs: Job[]): Job | null {
  const newest = [...jobs].sort((a, b) => b.id - a.id)
  return newest.find(isActive) ?? newest[0] ?? null
}

export interface JobView {
  title: string
  state: string
  tone: 'busy' | 'good' | 'bad' | 'odd'
  /** From 0 to 1, or null where it cannot be told. */
  share: number | null
  told: string
  canCancel: boolean
  canResume: boolean
}

function tone(state: JobState): JobView['tone'] {
  if (state === 'done') return 'good'
  if (state === 'failed') return 'bad'
  return state === 'cancelled' || state === 'interrupted' ? 'odd' : 'busy'
}

function told(job: Job): string {
  const count = job.total > 0 && job.kind !== 'task' ? `${job.done} of ${job.total} scans` : ''
  return [count, isActive(job) ? job.told : ''].filter(Boolean).join(', ')
}

export function viewOfJob(job: Job): JobView {
  const share = job.total > 0 ? Math.min(1, job.done / job.total) : null
  return {
    title: `${KINDS[job.kind]}, round ${job.round}`,
    state: STATES[job.state],
    tone: tone(job.state),
    share: job.state === 'done' ? 1 : share,
    told: told(job),
    canCancel: isActive(job),
    canResume: job.state === 'failed' || job.state === 'cancelled' || job.state === 'interrupted',
  }
}

export type Step = 1 | 2 | 3 | 4

/** The round whose task is the newest, if any is made. */
function newestRound(project: Project): Round | undefined {
  return project.rounds.find((round) => round.round === project.round)
}

/** Where one is: draw, make the task, segment, correct. */
export function currentStep(project: Project): Step {
  if (project.references.length === 0) return 1
  if (project.round === 0 || project.stale) return 2
  return (newestRound(project)?.segmented ?? 0) > 0 ? 4 : 3
}

/** Why something cannot be started now, or ''. */
export function whyNot(kind: JobKind, project: Project): string {
  const complete = !project.stale && newestRound(project)?.segmented === project.scans
  if (kind !== 'segment' && project.references.length === 0) return 'There is no reference yet'
  if (kind === 'task') return project.stale || project.round === 0 ? '' : 'The task is up to date'
  if (kind === 'segment' && project.round === 0) return 'There is no task yet'
  if (kind === 'segment' && project.stale) return 'References have changed: make the task first'
  return complete ? 'All scans are segmented by the newest task' : ''
}
