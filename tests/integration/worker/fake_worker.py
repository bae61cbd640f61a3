"""An embedded worker whose jobs are fake: `fake_worker.py SETTINGS_JSON BEHAVIOUR FOLDER`."""

import sys

from core.settings import Settings
from tests.integration.worker.support import fake
from worker import embedded

if __name__ == "__main__":
    embedded.run(Settings.model_validate_json(sys.argv[1]), command=fake(sys.argv[2], sys.argv[3]))
