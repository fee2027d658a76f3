#!/usr/bin/env python3
"""As much of a registry of images as `docker pull` asks for, on loopback: one image, out of `docker save`.

    registry.py FILE.tar NAME TAG        prints its port, and serves until it is ended
"""
import hashlib
import http.server
import json
import sys
import tarfile

saved, name, tag = sys.argv[1:]
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
blobs = {}


def keep(data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return {"size": len(data), "digest": digest}


with tarfile.open(saved) as archive:
    read = lambda member: archive.extractfile(member).read()
    (image,) = json.loads(read("manifest.json"))
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", **keep(read(image["Config"]))}
    layer = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip"}
    layers = [{**layer, **keep(read(member))} for member in image["Layers"]]
manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}).encode()
manifests = {tag: manifest, keep(manifest)["digest"]: manifest}


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, data, kind):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        if status == 200 and data:
            self.send_header("docker-content-digest", "sha256:" + hashlib.sha256(data).hexdigest())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self):
        _, _, rest = self.path.partition("/v2/")
        kind, what = rest.split("/")[-2:] if rest else ("", "")
        if not rest:
            self.answer(200, b"{}", "application/json")
        elif rest == f"{name}/{kind}/{what}" and kind == "manifests" and what in manifests:
            self.answer(200, manifests[what], MANIFEST)
        elif rest == f"{name}/{kind}/{what}" and kind == "blobs" and what in blobs:
            self.answer(200, blobs[what], "application/octet-stream")
        else:
            self.answer(404, b"{}", "application/json")

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
print(server.server_address[1], flush=True)
server.serve_forever()
