// SPDX-License-Identifier: Apache-2.0

package imageset

import (
	"context"

	"github.com/hivemind-project/hivemind/hack/images/rootfs"
)

// nginx is Debian's, laid out as the image of that name: its user, its directories, its log on standard output.
func nginx() layer {
	return layer{
		name:     "nginx",
		packages: []string{"nginx", "nginx-common", "libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"},
		fill: func(_ context.Context, in *inputs) (rootfs.Tree, error) {
			tree, err := in.packages.Closure("usr/sbin/nginx")
			if err != nil {
				return nil, err
			}
			tree = tree.MergeUsr()
			owned := rootfs.Entry{Mode: 0o755, Dir: true, UID: 101, GID: 101}
			tree.Add(rootfs.Tree{
				"etc/passwd":                      rootfs.Text(passwd + "nginx:x:101:101:nginx:/var/cache/nginx:/sbin/nologin\n"),
				"etc/group":                       rootfs.Text(group + "nginx:x:101:\n"),
				"etc/nginx/mime.types":            in.packages["etc/nginx/mime.types"],
				"etc/nginx/nginx.conf":            rootfs.Text(nginxConf),
				"etc/nginx/conf.d/default.conf":   rootfs.Text(nginxSite),
				"docker-entrypoint.sh":            rootfs.File(0o755, []byte("#!/bin/sh\nexec \"$@\"\n")),
				"usr/share/nginx/html/index.html": rootfs.Text(nginxPage),
				"usr/share/nginx/html/50x.html":   rootfs.Text("<!DOCTYPE html>\n<title>Error</title>\n<h1>An error occurred.</h1>\n"),
				"var/cache/nginx":                 owned,
				"var/lib/nginx":                   owned, // where Debian's keeps what it receives
				"var/log/nginx/access.log":        rootfs.Symlink("/dev/stdout"),
				"var/log/nginx/error.log":         rootfs.Symlink("/dev/stderr"),
			})
			return tree, nil
		},
	}
}

const (
	nginxConf = `user nginx;
worker_processes auto;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;
events {
    worker_connections 1024;
}
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    access_log /var/log/nginx/access.log;
    sendfile on;
    keepalive_timeout 65;
    include /etc/nginx/conf.d/*.conf;
}
`
	nginxSite = `server {
    listen 80;
    listen [::]:80;
    server_name localhost;
    location / {
        root /usr/share/nginx/html;
        index index.html index.htm;
    }
    error_page 500 502 503 504 /50x.html;
    location = /50x.html {
        root /usr/share/nginx/html;
    }
}
`
	nginxPage = `<!DOCTYPE html>
<html>
<head><title>Welcome to nginx!</title></head>
<body><h1>Welcome to nginx!</h1></body>
</html>
`
)
