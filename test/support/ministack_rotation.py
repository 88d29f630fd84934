"""
MiniStack that rotates secrets as AWS does. Its own RotateSecret (1.5.33) calls no function: it copies the value that is
current into a new version, and labels that AWSCURRENT. Here instead (Secrets Manager API Reference, "RotateSecret"; User
Guide, "Rotation by Lambda function" and "Troubleshoot rotation"):

- a secret without a rotation function is refused;
- a rotation of the same token is not begun again;
- where AWSPENDING stands on another version than AWSCURRENT, a previous rotation is not complete: refused;
- the new version is empty and AWSPENDING; then the function is called with createSecret, setSecret, testSecret and
  finishSecret. Where one of them fails, the label stays.

The function `SecretsManager-<port>` is called by HTTP at that port of loopback, before RotateSecret is answered; with
`slowly` behind its name it is called after the answer, as on AWS.
"""

import asyncio
import json
import re
import time
import urllib.request

from ministack.app import main
from ministack.core.responses import error_response_json, json_response, new_uuid
from ministack.services import secretsmanager

known = secretsmanager.handle_request


def post(url, event):
    request = urllib.request.Request(url, json.dumps(event).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


async def run(url, secret, token):
    for step in ("createSecret", "setSecret", "testSecret", "finishSecret"):
        event = {"Step": step, "SecretId": secret["ARN"], "ClientRequestToken": token}
        try:
            await asyncio.to_thread(post, url, event)
        except OSError:
            return


async def rotate(data, otherwise):
    _, secret = secretsmanager._resolve(data.get("SecretId"))
    if secret is None or secret.get("DeletedDate") or secretsmanager._is_replica(secret):
        return await otherwise()
    function = data.get("RotationLambdaARN") or secret.get("RotationLambdaARN")
    if not function or (data.get("RotationLambdaARN") is None and not secret.get("RotationEnabled")):
        message = "You tried to enable rotation on a secret that doesn't already have a Lambda function ARN configured."
        return error_response_json("InvalidRequestException", message, 400)
    token = data.get("ClientRequestToken") or new_uuid()
    answer = json_response({"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": token})
    secret["RotationLambdaARN"], secret["RotationEnabled"] = function, True
    if data.get("RotateImmediately") is False:
        return answer
    pending, _ = secretsmanager._find_stage_version(secret, "AWSPENDING")
    current, _ = secretsmanager._find_stage_version(secret, "AWSCURRENT")
    if token in (pending, current):
        return answer
    if pending is not None and pending != current:
        message = "A previous rotation isn't complete. That rotation will be reattempted."
        return error_response_json("InvalidRequestException", message, 400)
    if pending is not None:
        secretsmanager._remove_stage(secret, pending, "AWSPENDING")
    secret["Versions"][token] = {
        "SecretString": None,
        "SecretBinary": None,
        "CreatedDate": int(time.time()),
        "Stages": ["AWSPENDING"],
    }
    port, slowly = re.search(r":function:SecretsManager-(\d+)(-slowly)?$", function).groups()
    steps = run(f"http://127.0.0.1:{port}/", secret, token)
    if slowly:
        tasks.add(asyncio.get_running_loop().create_task(steps))
    else:
        await steps
    return answer


# A task that nobody holds may be collected before its end.
tasks = set()


async def handle_request(method, path, headers, body, query_params):
    def otherwise():
        return known(method, path, headers, body, query_params)

    if headers.get("x-amz-target", "").endswith(".RotateSecret"):
        return await rotate(json.loads(body), otherwise)
    return await otherwise()


secretsmanager.handle_request = handle_request

if __name__ == "__main__":
    main()
