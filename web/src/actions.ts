// The foot of every view: what to do next, the job that runs, and the commands that do the same.
import { api, type Job, type JobKind, type Project } from './api'
import { attempt } from './dialog'
import { button, commandLine, foldedCommand, h, refill, setText } from './dom'
import { adviceOf } from './guide'
import { currentStep, isActive, shownJob, viewOfJob, whyNot } from './jobs'
import type { State } from './state'

interface Choice {
  kind: JobKind
  label: string
  button: HTMLButtonElement
}

export class Actions {
  readonly element = h('footer', { 'aria-label': 'Actions and job' })
  private readonly state: State
  private readonly advice = h('p', { class: 'advice', role: 'status' })
  private readonly job: JobBar
  private readonly choices: Choice[]
  /** Asked before anything starts, so that nothing unsaved is forgotten. */
  before: () => Promise<boolean> = () => Promise.resolve(true)

  constructor(state: State) {
    this.state = state
    this.job = new JobBar(state)
    const labels: [JobKind, string][] = [['task', 'Make task'], ['segment', 'Segment the cohort'], ['both', 'Task and cohort']]
    this.choices = labels.map(([kind, label]) => ({ kind, label, button: button(label, () => void this.start(kind)) }))
    this.element.append(h('div', { class: 'job' }, this.advice, this.job.element), h('div', { class: 'row' }, ...this.choices.map((choice) => choice.button)))
    state.watch(() => this.render())
  }

  private async start(kind: JobKind): Promise<void> {
    if (!(await this.before())) return
    await attempt(() => api.start(kind))
    await this.state.refresh()
    this.state.poll()
  }

  private render(): void {
    const { project, jobs } = this.state.known
    if (!project) return
    const job = shownJob(jobs)
    const busy = job !== null && isActive(job)
    const ended = job?.state === 'done'
    this.job.show(job === null || ended ? null : job)
    this.advice.hidden = job !== null && !ended
    const error = ended ? job.error : null
    const told = ended ? `${viewOfJob(job).title}: done${error ? `, but ${error}` : ''}. ` : ''
    setText(this.advice, told + adviceOf(currentStep(project)))
    this.advice.classList.toggle('odd', Boolean(error))
    for (const choice of this.choices) this.allow(choice, project, busy)
  }

  private allow({ kind, button: element }: Choice, project: Project, busy: boolean): void {
    const why = busy ? 'A job runs already' : whyNot(kind, project)
    const primary = { 2: 'task', 3: 'segment' }[currentStep(project) as 2 | 3]
    element.disabled = why !== ''
    element.title = why
    element.className = primary === kind && why === '' ? 'primary' : ''
  }
}

/** A job that runs or has stopped early. Its elements stay, so that the keyboard stays on them. */
class JobBar {
  readonly element = h('div', { class: 'job', hidden: true })
  private readonly title = h('strong', {})
  private readonly mark = h('span', { role: 'status' })
  private readonly told = h('span', { class: 'quiet' })
  private readonly bar = h('progress', { max: 1 })
  private readonly error = h('p', { class: 'bad', role: 'alert', hidden: true })
  private readonly cancel: HTMLButtonElement
  private readonly resume: HTMLButtonElement
  private readonly command = h('span', { class: 'command-place' })
  private job: Job | null = null

  constructor(state: State) {
    const act = (label: string, does: (id: number) => Promise<Job>): HTMLButtonElement =>
      button(label, () => {
        if (this.job) void attempt(() => does(this.job!.id)).then(() => state.refresh()).then(() => state.poll())
      }, { class: 'small' })
    this.cancel = act('Cancel', api.cancel)
    this.resume = act('Resume', api.resume)
    this.element.append(
      h('div', { class: 'row' }, this.title, this.mark, this.told, this.cancel, this.resume, this.command),
      this.bar, this.error)
  }

  show(job: Job | null): void {
    this.element.hidden = job === null
    if (job === null) return
    const view = viewOfJob(job)
    if (job.command !== this.job?.command) refill(this.command, foldedCommand(job.command))
    this.job = job
    setText(this.title, view.title)
    setText(this.mark, view.state)
    this.mark.className = `mark ${view.tone}`
    setText(this.told, view.told)
    this.cancel.hidden = !view.canCancel
    this.resume.hidden = !view.canResume
    if (view.share === null) this.bar.removeAttribute('value')
    else this.bar.value = view.share
    this.bar.setAttribute('aria-label', view.title)
    this.error.hidden = !job.error
    setText(this.error, job.error ?? '')
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
