"""Prints what each task of a play has returned, as one JSON object."""

import json

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: tasks
type: stdout
short_description: results as JSON
description: [results as JSON]
"""


class CallbackModule(CallbackBase):
    """Collects results until the play has ended."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "tasks"

    def __init__(self):
        super().__init__()
        self.tasks = []

    def add(self, result, **more):
        returned = {k: v for k, v in result._result.items() if not k.startswith("_")}
        self.tasks.append({"task": result._task.get_name(), "result": {**returned, **more}})

    v2_runner_on_ok = add
    v2_runner_on_skipped = add

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.add(result, failed=True)

    def v2_runner_on_unreachable(self, result):
        self.add(result, failed=True)

    def v2_playbook_on_stats(self, stats):
        changed = sum(stats.changed.values())
        print(json.dumps({"tasks": self.tasks, "changed": changed}, default=str))
