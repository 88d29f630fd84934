"""
MiniStack behind its own web server on one port alone (its command opens 443 too when it speaks TLS), taught what AWS's
IAM knows and MiniStack 1.5.33 does not. What is deployed stays as it is; more of its conditions are enforced than without.

- `kms:EncryptionContext:<name>` (AWS KMS Developer Guide, "AWS KMS condition keys").
- The batch calls of SQS are authorised as the single call: there is no `sqs:SendMessageBatch` (Service Authorization
  Reference, Amazon SQS).
- Policies of event buses, with `events:source` and `events:detail-type` (EventBridge User Guide, "Using IAM policy
  conditions"). AWS looks at each entry of a call; here the first one speaks for all, so send one.
- The ARN of a role or user carries its path (Service Authorization Reference, AWS IAM), so that a statement for
  `role/rescind/*` and the tags of such a role count.
- `aws:PrincipalArn` of a session is the ARN of its role (IAM User Guide, "Global condition keys").
- `Ref` of a secret is its ARN, not its name (CloudFormation User Guide, "AWS::SecretsManager::Secret").
"""

import json
import sys

from ministack.core import iam_actions, iam_evaluator
from ministack.services import eventbridge, iam, secretsmanager
from ministack.services.cloudformation import provisioners

known_context = iam_actions.request_tag_context
known_action = iam_actions.extract_iam_action
known_resource = iam_actions.extract_resource_arn
known_key = iam_evaluator._resolve_condition_key
known_bus = provisioners._RESOURCE_HANDLERS["AWS::Events::EventBus"]["create"]
known_secret = dict(provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"])


def context_of(service, action, body, parameters):
    context = known_context(service, action, body, parameters)
    if action == "events:PutEvents":
        entry = (json.loads(body).get("Entries") or [{}])[0]
        context = {**context, "events:source": entry.get("Source"), "events:detail-type": entry.get("DetailType")}
    elif service == "kms" and body[:1] == b"{":
        pairs = json.loads(body).get("EncryptionContext") or {}
        context = {**context, **{"kms:EncryptionContext:" + name: value for name, value in pairs.items()}}
    return context


def action_of(*request):
    action = known_action(*request)
    return action.removesuffix("Batch") if action is not None and action.startswith("sqs:") else action


def resource_of(service, *request):
    arn = known_resource(service, *request)
    parts = arn.split(":", 5)
    if service != "iam" or len(parts) < 6 or not parts[5].startswith(("role/", "user/")):
        return arn
    kind, name = parts[5].split("/", 1)
    kept = (iam._roles if kind == "role" else iam._users).get_scoped(parts[4], None, name)
    return arn if kept is None else kept["Arn"]


def key_of(key, context):
    value = known_key(key, context)
    if key.lower() != "aws:principalarn" or ":assumed-role/" not in value:
        return value
    role = iam._roles.get_scoped(context.principal_account, None, value.split("/")[1])
    return value if role is None else role["Arn"]


def create_bus(logical_id, properties, stack_name):
    name, attributes = known_bus(logical_id, properties, stack_name)
    if properties.get("Policy"):
        eventbridge._event_bus_policies[name] = properties["Policy"]
    return name, attributes


def create_secret(*request):
    _, attributes = known_secret["create"](*request)
    return attributes["Arn"], attributes


def delete_secret(arn, properties):
    name, _ = secretsmanager._resolve(arn)
    return known_secret["delete"](name or arn, properties)


def bus_policy_for_arn(arn):
    policy = eventbridge._event_bus_policies.get(arn.split("/")[-1])
    return None if policy is None else (policy, arn.split(":")[4])


iam_actions.request_tag_context = context_of
iam_actions.extract_iam_action = action_of
iam_actions.extract_resource_arn = resource_of
iam_evaluator._resolve_condition_key = key_of
provisioners._RESOURCE_HANDLERS["AWS::Events::EventBus"]["create"] = create_bus
provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"].update(create=create_secret, delete=delete_secret)
eventbridge.bus_policy_for_arn = bus_policy_for_arn
iam_evaluator._RESOURCE_POLICY_LOOKUPS["events"] = ("eventbridge", "bus_policy_for_arn")

if __name__ == "__main__":
    from hypercorn.__main__ import main

    sys.exit(main(["ministack.app:app", *sys.argv[1:]]))
