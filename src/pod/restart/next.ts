import type { Pod } from '../api/kubernetes.ts';
import type { Observed } from '../status/observed.ts';
import { ephemeralMembers, type Member, mainMembers, members } from '../status/roles.ts';
import { anyAlive, isAlive, latestEnd, latestRun, observedOf } from '../status/runs.ts';
import { kubeletLimits, type RestartLimits } from './backoff.ts';
import { activeUntil, courseOf, graceOf } from './course.ts';
import { type Next, nothing, together } from './decision.ts';
import { isRestartable, restartsAll, runsAgain } from './policy.ts';
import { sequenceOf } from './sequence.ts';
import { type Look, startOf } from './start.ts';
import { stopAll, stopOfOne } from './stop.ts';

/** The end of a pod: everything stops, and when the last process is gone, the rest goes. */
function ending(look: Look, deadline: number): Next {
  const { observed } = look;
  if (anyAlive(observed)) return together(...stopAll(look, 'podEnd', deadline));
  return observed.sandbox.kind === 'making' ? nothing : { decisions: [{ kind: 'finish' }] };
}

/** Runs of an earlier attempt are over before anything of the present one begins; undefined if there are none. */
function clearing(look: Look): Next | undefined {
  const { pod, observed, now } = look;
  const lostNetwork = observed.sandbox.kind === 'none' || observed.sandbox.kind === 'failed';
  const stale = (member: Member) => {
    const { state } = observedOf(observed, member);
    if (state.kind !== 'running' && state.kind !== 'starting') return false;
    return lostNetwork || (member.role !== 'ephemeral' && state.attempt < observed.attempt);
  };
  if (!members(pod).some(stale)) return undefined;
  return together(...stopAll(look, lostNetwork ? 'sandbox' : 'restartAll', now + graceOf(pod), stale));
}

/** A pod without a network gets one, unless it is of those that run once and has. */
function sandbox(look: Look): Next {
  const { pod, observed, now, limits } = look;
  if (observed.sandbox.kind === 'making') return nothing;
  const all = members(pod);
  const ran = all.some(member => latestRun(observedOf(observed, member)) !== undefined);
  if (ran && !mainMembers(pod).some(({ spec }) => isRestartable(pod, spec)))
    return {
      decisions: [
        {
          kind: 'fail',
          reason: 'SandboxChanged',
          message: 'The network of the pod is gone, and its containers run once',
        },
      ],
    };
  if (observed.sandbox.kind === 'failed' && observed.sandbox.at + limits.retry > now)
    return { decisions: [], lookAt: observed.sandbox.at + limits.retry };
  const used = all.some(member => latestRun(observedOf(observed, member))?.attempt === observed.attempt);
  return { decisions: [{ kind: 'createSandbox', attempt: observed.attempt + (used ? 1 : 0) }] };
}

/** A main container: kept running, or started, or left where it ended. */
function main(look: Look, member: Member): Next {
  const { pod, observed } = look;
  const container = observedOf(observed, member);
  if (isAlive(container)) return stopOfOne(look, member);
  const end = latestEnd(container);
  return !end || runsAgain(pod, observed, member, end) ? startOf(look, member) : nothing;
}

/** An init container or sidecar whose turn it is. */
function init(look: Look, member: Member): Next {
  return isAlive(observedOf(look.observed, member)) ? stopOfOne(look, member) : startOf(look, member);
}

/** An ephemeral container runs once, whatever the others do. */
function ephemeral(look: Look, member: Member): Next {
  return latestRun(observedOf(look.observed, member)) ? nothing : startOf(look, member);
}

/** A pod that goes on and has its network. */
function running(look: Look): Next {
  const { pod } = look;
  const sequence = sequenceOf(look);
  return together(
    ...ephemeralMembers(pod).map(member => ephemeral(look, member)),
    ...sequence.turn.map(member => init(look, member)),
    ...(sequence.done ? mainMembers(pod).map(member => main(look, member)) : []),
  );
}

/** A pod that goes on. */
function goingOn(look: Look): Next {
  const { pod, observed } = look;
  const by = restartsAll(pod, observed);
  if (by !== undefined)
    return { decisions: [{ kind: 'restartAll', attempt: observed.attempt + 1, container: by }] };
  return clearing(look) ?? (observed.sandbox.kind === 'ready' ? running(look) : sandbox(look));
}

/**
 * What is to be done for a pod now, and when to look again. Pure: carried out and recorded, each decision changes what
 * is observed so that it is not made twice.
 *
 * @param now milliseconds since 1970
 */
export function nextContainers(
  pod: Pod,
  observed: Observed,
  now: number,
  limits: RestartLimits = kubeletLimits(),
): Next {
  const look: Look = { pod, observed, now, limits };
  const course = courseOf(pod, observed);
  if (course.kind === 'ending') return ending(look, course.deadline);
  const until = activeUntil(pod, observed);
  if (until === undefined) return goingOn(look);
  if (until > now) return together(goingOn(look), { decisions: [], lookAt: until });
  const message = 'Pod was active on the node longer than the specified deadline';
  return { decisions: [{ kind: 'fail', reason: 'DeadlineExceeded', message }] };
}
