// What the page knows of the project, and how it keeps up with the server.
import { api, type Case, type Job, type Project } from './api'
import { isActive, pollDelay } from './jobs'

export interface Known {
  project: Project | null
  cases: Case[] | null
  jobs: Job[]
  /** Why the server could not be asked, or '' */
  error: string
}

export class State {
  known: Known = { project: null, cases: null, jobs: [], error: '' }
  private readonly listeners = new Set<() => void>()
  private timer = 0
  private finished = -1

  /** Call `listener` now and after every change. Returns what ends that. */
  watch(listener: () => void): () => void {
    this.listeners.add(listener)
    listener()
    return () => this.listeners.delete(listener)
  }

  set(patch: Partial<Known>): void {
    this.known = { ...this.known, ...patch }
    for (const listener of [...this.listeners]) listener()
  }

  find(id: string): Case | undefined {
    return this.known.cases?.find((scan) => scan.id === id)
  }

  /** Ask for everything anew. */
  async refresh(): Promise<void> {
    try {
      const [project, cases, jobs] = await Promise.all([api.project(), api.cases(), api.jobs()])
      this.finished = finishedCases(jobs)
      this.set({ project, cases, jobs, error: '' })
    } catch (error) {
      this.set({ error: (error as Error).message })
    }
  }

  /** Ask for jobs now and then, and for the rest when a job has finished something. */
  poll(): void {
    window.clearTimeout(this.timer)
    this.timer = window.setTimeout(() => void this.look().finally(() => this.poll()), pollDelay(this.known.jobs))
  }

  private async look(): Promise<void> {
    if (document.hidden && !this.known.jobs.some(isActive)) return
    if (this.known.error || !this.known.project) return this.refresh()
    try {
      const jobs = await api.jobs()
      const changed = finishedCases(jobs) !== this.finished
      if (changed) await this.refresh()
      else this.set({ jobs, error: '' })
    } catch (error) {
      this.set({ error: (error as Error).message })
    }
  }
}

/** A number that changes when a job finishes a case, begins or ends. */
function finishedCases(jobs: Job[]): number {
  return jobs.reduce((sum, job) => sum + job.done * 10 + (isActive(job) ? 1 : 2), 0)
}
