/** Packages of the shape that real ones have, for pods of the engine host. */
import type { DebPackage } from '../harness/deb-archive.ts';

const forever = 'trap "exit 0" TERM; while :; do sleep 0.05; done';
const script = (text: string) => `#!/bin/bash\n${text}\n`;

/** A daemon that stays in the foreground. */
export const uptimed: DebPackage = {
  name: 'uptimed',
  files: { '/usr/sbin/uptimed': script(`echo "uptimed $*: no useable database found"\n${forever}`) },
  unit: '[Unit]\nDescription=uptime record daemon\n[Service]\nExecStart=/usr/sbin/uptimed -f\nRestart=always\n[Install]\nWantedBy=multi-user.target\n',
};

/** Options in a file of /etc/default, a user of its own, and that it is up is told to systemd. */
export const prometheus: DebPackage = {
  name: 'prometheus',
  files: {
    '/usr/bin/prometheus': script(
      `echo "prometheus as $(id -un) with: $*"\nfor each; do case $each in --config.file=*) cat "\${each#*=}" ;; esac; done\n` +
        `systemd-notify --ready\n${forever}`,
    ),
    '/etc/default/prometheus': 'ARGS="--web.listen-address=:9090 --log.level=info"\n',
    '/etc/prometheus/prometheus.yml': 'of the package\n',
  },
  unit:
    '[Service]\nType=notify\nNotifyAccess=all\nUser=prometheus\nEnvironmentFile=/etc/default/prometheus\nExecStart=/usr/bin/prometheus $ARGS\n' +
    'RuntimeDirectory=prometheus\nRuntimeDirectoryMode=0750\n[Install]\nWantedBy=multi-user.target\n',
  postinst: 'useradd --system --user-group --no-create-home --shell /usr/sbin/nologin prometheus || true',
};

/** A daemon that leaves, says in a file of /run which process it is, and has its unit in another package of its source. */
export const nginx: readonly DebPackage[] = [
  {
    name: 'nginx',
    depends: 'nginx-common',
    files: {
      '/usr/sbin/nginx': script(
        `echo "nginx $*" >> /var/log/nginx/error.log || exit 1\n` +
          `if [ "$1" = -s ]; then kill -TERM "$(cat /run/nginx.pid)"; exit; fi\n` +
          `if [ "$1 $2" = '-g daemon off;' ]; then exec bash -c '${forever}'; fi\n` +
          `setsid bash -c 'echo $$ > /run/nginx.pid; trap "echo quit >> /var/log/nginx/error.log; exit 0" TERM; while :; do sleep 0.05; done' < /dev/null > /dev/null 2>&1 &\n` +
          'until [ -s /run/nginx.pid ]; do sleep 0.01; done',
      ),
    },
  },
  {
    name: 'nginx-common',
    source: 'nginx',
    // Whose unit has the name of another package of its source.
    files: {
      '/lib/systemd/system/nginx.service':
        "[Service]\nType=forking\nPIDFile=/run/nginx.pid\nExecStart=/usr/sbin/nginx -g 'daemon on;'\nExecStop=/usr/sbin/nginx -s quit\n[Install]\nWantedBy=multi-user.target\n",
    },
    postinst:
      'deb-systemd-helper enable nginx.service; systemctl daemon-reload; deb-systemd-invoke start nginx.service',
  },
];

/** A program and no unit. */
export const tool: DebPackage = {
  name: 'tool',
  version: '1:2.0-3',
  files: { '/usr/bin/tool': script(`echo "tool: $*"\n${forever}`) },
};

/** Its configuration waits for a file. */
export const slow = (name: string, gate: string): DebPackage => ({
  name,
  files: { [`/usr/bin/${name}`]: script(`echo "${name} runs"\n${forever}`) },
  postinst: `: > ${gate}.begun; until [ -e ${gate} ]; do sleep 0.02; done`,
});
