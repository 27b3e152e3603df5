// The scripts that start and stop a node, found beside this program: in a checkout's scripts/, or in
// share/sluice/scripts of an installation.
#pragma once

#include <string>
#include <vector>

#include "api/base/result.h"

namespace sluice::cli {

// Replaces this process by the script of that name ("up", "down"). Returns only to say why not.
Error run_script(const std::string& name, const std::vector<std::string>& arguments);

}  // namespace sluice::cli
