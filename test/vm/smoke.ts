/**
 * Runs inside of the virtual machine, at its first boot and at its second: looks at what differs where systemd is PID 1
 * and the host has cgroup v2, and powers off.
 */
import { containers, restarted } from './containers.ts';
import { system } from './guest.ts';
import { labs } from './labs.ts';
import { enabled, machines } from './machines.ts';
import { pods } from './pods.ts';
import { closing, earlierCounts, keepCounts, report, say } from './report.ts';

const earlier = earlierCounts();
const counts = earlier ?? { passed: 0, failed: 0 };
try {
  await report(earlier ? [...restarted, ...enabled] : [...containers, ...pods, ...labs, ...machines], counts);
  keepCounts(counts);
  if (counts.failed > 0) {
    const lines = await system('journalctl', '--no-pager', '--namespace=*', '--boot', '--lines=300');
    // What the kernel says of memory fills pages.
    for (const line of lines.split('\n')) if (!/ kernel: |^ {4}/.test(line)) say(`# ${line}`);
  }
} finally {
  if (earlier) say(closing(counts));
  await system('systemctl', '--no-block', earlier ? 'poweroff' : 'reboot');
}
