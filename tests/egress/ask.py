#!/usr/bin/env python3
"""Fetches each URL on standard input (a JSON list) with the gateway's `fetch_url`, and tells what came back.

    ask.py PORT TOKEN
"""
import http.client
import json
import sys

port, token = sys.argv[1:]
gateway = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
headers = {"authorization": "Bearer " + token, "content-type": "application/json"}
for url in json.load(sys.stdin):
    body = json.dumps({"name": "fetch_url", "arguments": {"url": url}})
    gateway.request("POST", "/tools/invoke", body, headers)
    answer = gateway.getresponse()
    said = json.loads(answer.read())
    print(json.dumps({"url": url, "status": answer.status, "failed": said.get("is_error"), "said": said.get("output")}))
