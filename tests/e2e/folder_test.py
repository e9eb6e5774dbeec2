#!/usr/bin/env python3
"""A Hugging Face folder through the whole cluster: weights of every type answer what baton-run answers,
repacked ones are kept apart by type, and generation_config.json's ends and defaults hold.

folder_test.py BATON_RUN"""

import subprocess
import sys
import unittest

from harness import *

sys.path.insert(0, ROOT + "/tests/golden")
import tiny  # noqa: E402

PROMPT = [(i * i * 5 + i * 17 + 3) % 256 for i in range(30)]
COUNT = 12
BATON_RUN = sys.argv.pop()


def alone(model, weights):
    command = [BATON_RUN, model, "--weights", weights, "--ids", ",".join(map(str, PROMPT)), "-n", str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 * SLOW)
    assert done.returncode == 0, done.stderr
    return [int(i) for i in done.stderr.split("ids ", 1)[1].split("\n", 1)[0].split(",")]


def with_model(**keys):
    return merge(disaggregated(), {"model": keys})


class FolderTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="baton-folder-")
        self.addCleanup(self.dir.cleanup)
        self.model = self.dir.name + "/Tiny-2.5"  # a dot in a folder's name ends nothing
        tiny.write_folder("smollm2", self.model)

    def generation(self, **keys):
        with open(self.model + "/generation_config.json", "w") as f:
            json.dump(keys, f)

    def test_weights_of_a_type_answer_alike_and_are_kept_apart(self):
        cache = self.dir.name + "/cache"
        answers = {}
        for weights in ("auto", "q8_0", "q4_0"):
            with Cluster(with_model(weight_dtype=weights, weight_cache=cache), self.model) as c:
                body = {"prompt": PROMPT, "max_tokens": COUNT, "temperature": 0, "return_token_ids": True}
                answer = c.complete(**body)
                self.assertEqual(answer["model"], "Tiny-2.5")
                answers[weights] = answer["choices"][0]["token_ids"]
                self.assertEqual(answers[weights], alone(self.model, weights))
                said = "weight_dtype=%s " % weights in c.log()
                self.assertEqual(said, True)  # rows of queries and keys take turns with any type
        self.assertEqual(len([f for f in os.listdir(cache) if f.endswith(".weights")]), 2)

    def test_the_ends_and_the_defaults_are_those_of_generation_config(self):
        usual = alone(self.model, "auto")
        at = next(i for i in range(1, COUNT) if usual[i] not in usual[:i])
        self.generation(eos_token_id=[tiny.END, usual[at]], temperature=0, top_k=7)
        body = {"prompt": PROMPT, "max_tokens": COUNT, "return_token_ids": True}
        with Cluster(with_model(), self.model) as c:
            choice = c.complete(**body)["choices"][0]
            self.assertEqual(choice["token_ids"], usual[: at + 1])
            self.assertEqual(choice["finish_reason"], "stop")
            warm = [c.complete(temperature=5, seed=i, **body)["choices"][0]["token_ids"] for i in range(3)]
            self.assertTrue(any(w != usual[: at + 1] for w in warm), warm)
        with Cluster(with_model(generation_config=False), self.model) as c:
            cold = [c.complete(seed=i, **body)["choices"][0]["token_ids"] for i in range(3)]
            self.assertTrue(any(w != usual[: at + 1] for w in cold), cold)

    def test_what_a_folder_lacks_is_said_before_anything_starts(self):
        os.unlink(self.model + "/tokenizer.json")
        with self.assertRaises(Exception) as e:
            with Cluster(with_model(), self.model):
                pass
        self.assertIn("tokenizer.json", str(e.exception))


if __name__ == "__main__":
    unittest.main()
