"""Each check of tidy.py finds what it is for."""

import sys
import unittest

import tidy

CLEAN = {
    "CMakeLists.txt": "",
    "api/x.h": "// Purpose.\n#pragma once\n",
    "api/README.md": "",
    "api/x.cc": '// See x.h.\n#include "api/x.h"\n',
    "api/CMakeLists.txt": "sluice_library(x SRCS x.cc)\n",
}
BAD = {
    "check_top_level": ("extra/file.txt", ""),
    "check_layers": ("control/a.cc", '#include "agent/b.h"\n'),
    "check_adapters": ("agent/a.h", "// P.\n#pragma once\n#include <boost/asio.hpp>\n"),
    "check_lengths": ("api/long.py", "x\n" * 900),
    "check_markers": ("api/x.py", "# TODO: later\n"),
    "check_headers": ("api/y.h", "int x;\n"),
    "check_dead_files": ("api/forgotten.cc", "\n"),
    "check_module_readmes": ("control/store/a.cc", "\n"),
    "check_named_tests": ("docs/conformance.md", "| a spec | `api/x.py::test_nothing` |\n"),
    "check_local_paths": ("docs/a.md", "see /work/main\n"),
}


def findings(files):
    return {name: found for name, found in
            tidy.run_checks(list(files), files.__getitem__).items() if found}


class TidyTest(unittest.TestCase):
    def test_a_clean_tree_has_no_findings(self):
        self.assertEqual(findings(CLEAN), {})

    def test_each_check_finds_its_fault(self):
        self.assertEqual(set(BAD), {check.__name__ for check in tidy.CHECKS})
        for name, (path, text) in BAD.items():
            with self.subTest(name):
                self.assertIn(name, findings({**CLEAN, path: text}))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
