/** Configurations and programs that tests run as pods. */

/** A web server that says a colour in a header, which is in its configuration, and in its page. */
export interface WebServer {
  readonly name: string;
  readonly command: readonly string[];
  readonly reload: readonly string[];
  readonly configuration: (colour: string) => string;
}

const modules = ['mpm_event', 'authz_core', 'headers']
  .map(name => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so\n`)
  .join('');

export const webServers: readonly WebServer[] = [
  {
    name: 'nginx',
    command: ['nginx', '-c', '/conf/server', '-g', 'daemon off;'],
    reload: ['nginx', '-c', '/conf/server', '-s', 'reload'],
    configuration: colour => `user www-data;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events {}
http {
  access_log /dev/stdout;
  server { listen 80; root /conf; add_header X-Colour ${colour}; }
}
`,
  },
  {
    name: 'httpd',
    command: ['apache2', '-DFOREGROUND', '-f', '/conf/server'],
    reload: ['apache2', '-f', '/conf/server', '-k', 'graceful'],
    configuration: colour => `${modules}ServerName pod
Listen 80
User www-data
Group www-data
PidFile /run/httpd.pid
StartServers 1
ThreadsPerChild 8
MaxRequestWorkers 16
DocumentRoot /conf
LogFormat "%r %>s" short
CustomLog /dev/stdout short
ErrorLog /dev/stderr
Header set X-Colour ${colour}
`,
  },
];

/** A program of Python that counts its visitors in a database and notes them in a file. */
export const application = `
import http.server, os, signal, sqlite3, sys
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with sqlite3.connect('/data/app.db') as db:
            db.execute('insert into visits (path) values (?)', (self.path,))
            count, = db.execute('select count(*) from visits').fetchone()
        body = f'{os.environ["GREETING"]} visitor {count}\\n'.encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, form, *words):
        with open('/logs/access', 'a') as log: log.write(form % words + '\\n')
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(('127.0.0.1', 8000), App).serve_forever()
`;

/** nginx as its proxy. */
export const front = `
pid /run/nginx.pid;
error_log /dev/stderr;
events {}
http { access_log off; server { listen 80; location / { proxy_pass http://127.0.0.1:8000; } } }
`;
