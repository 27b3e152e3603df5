// subPath: a part of a volume, bound to a place of its own before the runtime sees it.
#pragma once

#include <string>

#include "api/base/result.h"

namespace sluice::kubelet {

// Opens sub_path within the volume, following only links that stay in it, making directories that
// are missing; binds what was opened to `target`. A binding that is there is kept if it is of the
// same file, and replaced otherwise (a file of a ConfigMap is a new one after each change). Whoever
// swaps a directory for a link meanwhile gains nothing.
Result<void> bind_sub_path(const std::string& volume, const std::string& sub_path,
                           const std::string& target);

}  // namespace sluice::kubelet
