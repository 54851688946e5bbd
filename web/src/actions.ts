// The foot of every view: what to do next, the job that runs, and the commands that do the same.
import { api, type Job, type JobKind, type Project } from './api'
import { attempt } from './dialog'
import { button, commandLine, foldedCommand, h, refill, setText } from './dom'
import { adviceOf } from './guide'
import { currentStep, isActive, shownJob, viewOfJob } from './jobs'
import type { State } from './state'

export class Actions {
  readonly element = h('footer', { 'aria-label': 'Actions and job' })
  private readonly state: State
  private readonly jobPlace = h('div', { class: 'job', role: 'status' })
  private readonly buttons = h('div', { class: 'row' })
  /** Asked before anything starts, so that nothing unsaved is forgotten. */
  before: () => Promise<boolean> = () => Promise.resolve(true)

  constructor(state: State) {
    this.state = state
    this.element.append(this.jobPlace, this.buttons)
    state.watch(() => this.render())
  }

  async start(kind: JobKind): Promise<void> {
    if (!(await this.before())) return
    if (await attempt(() => api.start(kind))) await this.state.refresh()
    this.state.poll()
  }

  private render(): void {
    const { project, jobs } = this.state.known
    if (!project) return
    const job = shownJob(jobs)
    this.renderJob(job, project)
    refill(this.buttons, ...this.choices(project, job !== null && isActive(job)))
  }

  private choices(project: Project, busy: boolean): HTMLElement[] {
    const step = currentStep(project)
    const drawn = project.references.length > 0
    const make = (label: string, kind: JobKind, primary: boolean, can: boolean, why: string): HTMLElement =>
      button(label, () => void this.start(kind), {
        class: primary ? 'primary' : '',
        disabled: busy || !can,
        title: busy ? 'A job runs already' : can ? null : why,
      })
    return [
      make('Make task', 'task', step === 2, drawn && project.stale, drawn ? 'The task is up to date' : 'There is no reference yet'),
      make('Segment the cohort', 'segment', step === 3, project.round > 0 && !project.stale,
        project.round > 0 ? 'References have changed: make the task first' : 'There is no task yet'),
      make('Both', 'both', false, drawn, 'There is no reference yet'),
    ]
  }

  private renderJob(job: Job | null, project: Project): void {
    const step = currentStep(project)
    if (!job || (job.state === 'done' && !isActive(job))) {
      const done = job ? `${viewOfJob(job).title}: done. ` : ''
      refill(this.jobPlace, h('p', { class: 'advice' }, h('strong', {}, done), adviceOf(step)))
      return
    }
    refill(this.jobPlace, ...this.jobParts(job))
  }

  private jobParts(job: Job): HTMLElement[] {
    const view = viewOfJob(job)
    const bar = h('progress', { 'aria-label': view.title, max: 1, value: view.share })
    const act = (label: string, does: (id: number) => Promise<Job>): HTMLElement =>
      button(label, () => void attempt(() => does(job.id)).then(() => this.state.refresh()), { class: 'small' })
    return [
      h('div', { class: 'row' },
        h('strong', {}, view.title),
        h('span', { class: `mark ${view.tone}` }, view.state),
        h('span', { class: 'quiet' }, view.told),
        ...(view.canCancel ? [act('Cancel', api.cancel)] : []),
        ...(view.canResume ? [act('Resume', api.resume)] : []),
        foldedCommand(job.command) ?? ''),
      bar,
      ...(job.error ? [h('p', { class: 'bad', role: 'alert' }, job.error)] : []),
    ]
  }
}

/** What the newest round found out about its references, and what can be taken away. */
export class Rounds {
  readonly element = h('aside', { class: 'side', 'aria-label': 'Task' })
  private readonly state: State
  private readonly open: (id: string) => void
  private told = ''

  constructor(state: State, open: (id: string) => void) {
    this.state = state
    this.open = open
    state.watch(() => this.render())
  }

  private render(): void {
    const { project } = this.state.known
    const told = JSON.stringify(project)
    if (!project || told === this.told) return
    this.told = told
    refill(this.element, this.references(project), this.dice(project), this.commands(project))
  }

  private references(project: Project): HTMLElement {
    const items = project.references.map((id) => h('li', {}, button(id, () => this.open(id), { class: 'link' })))
    return h('section', {}, h('h3', {}, 'References'),
      items.length > 0
        ? h('ul', { class: 'plain' }, ...items)
        : h('p', { class: 'quiet' }, 'None yet. Open a scan, draw in it, save, and use it as a reference.'))
  }

  private dice(project: Project): HTMLElement | null {
    const rounds = [...project.rounds].sort((a, b) => b.round - a.round)
    if (rounds.length === 0) return null
    return h('section', {}, h('h3', {}, 'Dice of the references'), ...rounds.map((round, i) => {
      const rows = Object.entries(round.dice).map(([name, dice]) =>
        h('tr', {}, h('th', { scope: 'row', title: name }, name), ...[dice.itself, dice.others, dice.affine].map(score)))
      const content = h('table', { class: 'dice' },
        h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Structure'),
          head('itself', 'A reference segmented with itself: can the model redraw what it was shown?'),
          head('others', 'A reference segmented with the others'),
          head('affine', 'The others laid over it by an affine registration'))),
        h('tbody', {}, ...rows))
      const title = `Round ${round.round}: ${count(round.references.length, 'reference')}, ${count(round.segmented, 'scan')} segmented`
      const old = project.stale && i === 0 ? h('p', { class: 'odd small-text' }, 'References have changed since.') : null
      return h('details', { open: i === 0 }, h('summary', {}, title), content, old)
    }))
  }

  private commands(project: Project): HTMLElement | null {
    const { task, segment } = project.commands
    const fetchTask = project.round > 0
      ? h('a', { class: 'button', href: '/api/task.task', download: '' }, 'Download the task (.task)')
      : null
    if (!task && !segment && !fetchTask) return null
    return h('section', {}, h('h3', {}, 'Take away'), fetchTask,
      task ? h('p', { class: 'quiet' }, 'Make task, as a command:') : null, task ? commandLine(task) : null,
      segment ? h('p', { class: 'quiet' }, 'Segment the cohort, as a command:') : null, segment ? commandLine(segment) : null)
  }
}

function head(word: string, title: string): HTMLElement {
  return h('th', { scope: 'col', title }, word)
}

function score(value: number | null): HTMLElement {
  return h('td', {}, value === null ? '–' : value.toFixed(2))
}

function count(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? '' : 's'}`
}

/** Errors of the connection, above everything. */
export function connection(state: State): HTMLElement {
  const element = h('div', { class: 'connection', role: 'alert', hidden: true })
  state.watch(() => {
    setText(element, state.known.error)
    element.hidden = state.known.error === ''
  })
  return element
}
