import { expect, test } from 'vitest'
import type { Job, JobState, Project, Round } from '../src/api'
import { currentStep, isActive, pollDelay, shownJob, viewOfJob, whyNot } from '../src/jobs'

function job(id: number, state: JobState, more: Partial<Job> = {}): Job {
  return {
    id, state, kind: 'segment', round: 2, done: 12, total: 40, told: 'about 2 min left', command: 'mass3d segment',
    started: null, ended: null, error: null, ...more,
  }
}

const ALL: JobState[] = ['queued', 'running', 'done', 'failed', 'cancelled', 'interrupted']

test('a job waits or runs until it has ended one way or another', () => {
  expect(ALL.filter((state) => isActive(job(1, state)))).toEqual(['queued', 'running'])
})

test('what runs can be cancelled, what has stopped early can be resumed, what is done neither', () => {
  expect(ALL.filter((state) => viewOfJob(job(1, state)).canCancel)).toEqual(['queued', 'running'])
  expect(ALL.filter((state) => viewOfJob(job(1, state)).canResume)).toEqual(['failed', 'cancelled', 'interrupted'])
})

test('the server is asked often only while a job runs', () => {
  expect(pollDelay([job(1, 'done'), job(2, 'running')])).toBeLessThanOrEqual(2000)
  expect(pollDelay([job(1, 'done')])).toBe(10_000)
  expect(pollDelay([])).toBe(10_000)
})

test('the job shown is one that runs, else the newest', () => {
  expect(shownJob([job(1, 'done'), job(3, 'failed'), job(2, 'running')])?.id).toBe(2)
  expect(shownJob([job(1, 'done'), job(3, 'failed'), job(2, 'done')])?.id).toBe(3)
  expect(shownJob([])).toBeNull()
})

test('progress is told as a share and in words, and the rest of the time only while it runs', () => {
  expect(viewOfJob(job(1, 'running'))).toMatchObject({
    title: 'Segmenting the cohort, round 2', share: 0.3, told: '12 of 40 scans, about 2 min left', tone: 'busy',
  })
  expect(viewOfJob(job(1, 'cancelled'))).toMatchObject({ share: 0.3, told: '12 of 40 scans', tone: 'odd' })
  expect(viewOfJob(job(1, 'queued', { done: 0, total: 0, told: '' }))).toMatchObject({ share: null, told: '' })
  expect(viewOfJob(job(1, 'done', { done: 38 })).share).toBe(1)
  expect(viewOfJob(job(1, 'failed')).tone).toBe('bad')
})

function project(more: Partial<Project>): Project {
  return {
    name: '', version: '', model: '', scans: 3, structures: [], references: [], round: 0, rounds: [], stale: false, commands: {}, ...more,
  }
}

test('the guide goes from drawing over the task and the cohort to correcting, and back when references change', () => {
  const round = (segmented: number): Round => ({ round: 1, references: ['a'], structures: [], dice: {}, segmented })
  expect(currentStep(project({}))).toBe(1)
  expect(currentStep(project({ references: ['a'], stale: true }))).toBe(2)
  expect(currentStep(project({ references: ['a'], round: 1, rounds: [round(0)] }))).toBe(3)
  expect(currentStep(project({ references: ['a'], round: 1, rounds: [round(3)] }))).toBe(4)
  expect(currentStep(project({ references: ['a', 'b'], round: 1, rounds: [round(3)], stale: true }))).toBe(2)
})

test('only what has something to do can be started, and the reason else is told', () => {
  const can = (more: Partial<Project>): string[] => (['task', 'segment', 'both'] as const).filter((kind) => !whyNot(kind, project(more)))
  const round = (segmented: number): Partial<Project> => ({
    references: ['a'], round: 1, rounds: [{ round: 1, references: ['a'], structures: [], dice: {}, segmented }],
  })
  expect(can({})).toEqual([])
  expect(can({ references: ['a'], stale: true })).toEqual(['task', 'both'])
  expect(can(round(0))).toEqual(['segment', 'both'])
  expect(can(round(3))).toEqual([])
  expect(can({ ...round(3), stale: true })).toEqual(['task', 'both'])
  expect(can({ ...round(3), references: [], stale: true })).toEqual([])
  expect(whyNot('segment', project({ ...round(3), stale: true }))).toContain('make the task first')
})
