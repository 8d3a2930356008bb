#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

"""Puts a policy of ringfence into force."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: policy
short_description: Put a policy of ringfence into force
version_added: 0.1.0
description:
  - Writes the policy file, and brings the fence in the kernel to it with C(ringfence apply).
  - In check mode it writes the policy to a temporary file, and asks C(ringfence diff) what
    that would change. So what it reports is true before the first run, and later.
  - If C(ringfence apply) fails, the policy file is as it was.
  - With I(state=absent) it takes the fence down and removes the policy file.
author:
  - the authors of ringfence (@ringfence)
options:
  state:
    description: Whether the policy should be in force, or no fence be there.
    type: str
    choices: [present, absent]
    default: present
  content:
    description: The policy, as YAML text. Required with I(state=present).
    type: str
  path:
    description: The policy file.
    type: path
    default: /etc/ringfence/policy.yaml
  confirm:
    description:
      - Undo the change after this time (such as C(60s)) unless C(ringfence confirm) comes first.
      - An empty text puts it into force for good.
    type: str
    default: ""
  flags:
    description: More flags of C(ringfence apply), such as C(--allow-cut-inside).
    type: list
    elements: str
    default: []
  program:
    description: The ringfence program.
    type: str
    default: ringfence
  state_dir:
    description: The folder of addresses and generations.
    type: path
  run_dir:
    description: The folder of the lock.
    type: path
attributes:
  check_mode:
    description: Can run in check mode and say what it would change.
    support: full
  diff_mode:
    description: Shows the policy and the fence before and after.
    support: full
"""

EXAMPLES = r"""
- name: Let only the provider and the LAN reach the SIP ports
  ringfence.ringfence.policy:
    content: |
      version: 1
      providers:
        - name: acme
          registrars: [sip.provider.example]
      trusted:
        addresses: [192.168.1.0/24]
    confirm: 60s

- name: Take the fence down
  ringfence.ringfence.policy:
    state: absent
"""

RETURN = r"""
generation:
  description: The generation that is in force.
  returned: when not in check mode, and I(state=present)
  type: int
  sample: 3
changes:
  description: What changes, or would change, in the kernel, each with its reason.
  returned: with I(state=present)
  type: list
  elements: dict
pending:
  description: Whether the change is undone unless C(ringfence confirm) comes in time.
  returned: with I(state=present)
  type: bool
"""

import json
import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes, to_text

# The exit statuses of ringfence.
DONE = 0
CHANGES = 2
PARTLY = 4


class Ringfence(object):
    """Runs ringfence on the host."""

    def __init__(self, module):
        self.module = module
        self.command = [module.get_bin_path(module.params["program"], True, ["/usr/local/sbin", "/usr/sbin"])]
        for flag in ("state_dir", "run_dir"):
            if module.params[flag]:
                self.command += ["--" + flag.replace("_", "-"), module.params[flag]]

    def run(self, policy, args, good):
        """Returns the exit status, the object that was printed, and the warnings."""
        status, out, err = self.module.run_command(self.command + ["--policy", policy, "-o", "json"] + args)
        if status not in good:
            # A temporary file says nothing to the user.
            text = to_text(err).replace(policy, self.module.params["path"]).strip()
            self.module.fail_json(msg=text or "%s ended with status %d" % (" ".join(args), status), rc=status)
        return status, json.loads(out) if out.strip() else {}, to_text(err).strip()


def read(path):
    """Returns the text of a file, or None."""
    try:
        with open(path, "rb") as f:
            return to_text(f.read())
    except (IOError, OSError) as error:
        if os.path.exists(path):
            raise error
        return None


def line(change):
    """Returns a change as one line, as ringfence diff prints it."""
    sign = {"add": "+", "delete": "-"}.get(change.get("action"), "~")
    return " ".join(filter(None, (sign, change.get("kind"), change.get("name"), change.get("value"), change.get("reason"))))


def shown(before, after, changes, path):
    """Returns what --diff shows: the policy, and the fence."""
    return [
        {"before_header": path, "after_header": path, "before": before or "", "after": after},
        {"prepared": "".join(line(c) + "\n" for c in changes)},
    ]


def replace(module, content, path):
    """Writes the policy file, which everybody may read."""
    handle, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(handle, "wb") as f:
        f.write(to_bytes(content))
    os.chmod(temporary, 0o644)
    module.atomic_move(temporary, path)


def remove(module, ringfence):
    """Takes the fence down and removes the policy file."""
    path = module.params["path"]
    before = read(path)
    fence = ringfence.run(path, ["status"], [DONE])[1].get("fence", False)
    if not module.check_mode:
        if fence:
            ringfence.run(path, ["down"], [DONE])
        if before is not None:
            os.remove(path)
    module.exit_json(
        changed=fence or before is not None,
        diff=[
            {"before_header": path, "after_header": path, "before": before or "", "after": ""},
            {"prepared": "- the fence\n" if fence else ""},
        ],
    )


def put(module, ringfence):
    """Puts the policy into force, or says what that would change."""
    content, path = module.params["content"], module.params["path"]
    before = read(path)

    handle, wanted = tempfile.mkstemp(dir=module.tmpdir, suffix=".yaml")
    with os.fdopen(handle, "wb") as f:
        f.write(to_bytes(content))
    module.add_cleanup_file(wanted)
    ringfence.run(wanted, ["check"], [DONE])
    status, plan, unused = ringfence.run(wanted, ["diff"], [DONE, CHANGES, PARTLY])
    changes = plan.get("changes", [])
    result = {
        "changed": before != content or status == CHANGES or bool(changes),
        "changes": changes,
        "pending": False,
        "diff": shown(before, content, changes, path),
    }
    if module.check_mode or not result["changed"]:
        if not module.check_mode:
            result["generation"] = plan.get("generation", 0)
        module.exit_json(**result)

    replace(module, content, path)
    args = ["apply", "--yes"] + module.params["flags"]
    if module.params["confirm"]:
        args.append("--confirm=" + module.params["confirm"])
    status, out, err = module.run_command(ringfence.command + ["--policy", path, "-o", "json"] + args)
    if status not in (DONE, PARTLY):
        if before is None:
            os.remove(path)
        else:
            replace(module, before, path)
        module.fail_json(msg=to_text(err).strip(), rc=status, changes=changes)
    applied = json.loads(out)
    for text in to_text(err).splitlines():
        if text.startswith("ringfence: warning: ") or text.startswith("ringfence: alarm: "):
            module.warn(text[len("ringfence: "):])
    result["generation"] = applied.get("generation", 0)
    result["changes"] = applied.get("changes", changes)
    now = ringfence.run(path, ["status"], [DONE])[1]
    result["pending"] = bool(now.get("pending"))
    module.exit_json(**result)


def main():
    """Runs the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "content": {"type": "str"},
            "path": {"type": "path", "default": "/etc/ringfence/policy.yaml"},
            "confirm": {"type": "str", "default": ""},
            "flags": {"type": "list", "elements": "str", "default": []},
            "program": {"type": "str", "default": "ringfence"},
            "state_dir": {"type": "path"},
            "run_dir": {"type": "path"},
        },
        required_if=[("state", "present", ["content"])],
        supports_check_mode=True,
    )
    ringfence = Ringfence(module)
    if module.params["state"] == "absent":
        remove(module, ringfence)
    put(module, ringfence)


if __name__ == "__main__":
    main()
