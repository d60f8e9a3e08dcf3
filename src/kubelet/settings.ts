import { SpawnletError } from '../host/error.ts';
import type { Files } from '../host/files.ts';
import { agentSettingsFile } from '../names.ts';
import { type PodEngine, podEngines } from '../pod/spec/engine-limits.ts';

/** What commands have to know of the agent, to see manifests as it does. */
export interface AgentSettings {
  /** Who runs the pods that name nobody. */
  readonly defaultRuntime: PodEngine;
}

/** @throws ERR_FLAG_VALUE */
export function parseDefaultRuntime(text = 'crun'): PodEngine {
  const found = podEngines.find(each => each === text);
  if (found) return found;
  throw new SpawnletError('ERR_FLAG_VALUE', `--default-runtime takes no ${JSON.stringify(text)}`, {
    hint: `one of ${podEngines.join(', ')}`,
  });
}

export const writeSettings = async (files: Files, settings: AgentSettings): Promise<void> => {
  await files.makeDirectory(agentSettingsFile.slice(0, agentSettingsFile.lastIndexOf('/')), 0o755);
  await files.write(agentSettingsFile, `${JSON.stringify(settings)}\n`, 0o600);
};

/** Those of the agent that has run last in this boot. */
export async function readSettings(files: Files): Promise<AgentSettings> {
  const text = await files.read(agentSettingsFile);
  const { defaultRuntime } = JSON.parse(text ?? '{}') as Partial<AgentSettings>;
  return { defaultRuntime: parseDefaultRuntime(defaultRuntime) };
}
