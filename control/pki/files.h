// Small secret files: read whole within a limit, written so that a reader sees the old or the new one.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::pki {

inline constexpr std::size_t kMaxFileBytes = 1U << 20U;

// The file's bytes; nullopt if there is none. A file that others than its owner may read is made 0600, with a
// warning. Larger than kMaxFileBytes, or no regular file: kFailedPrecondition.
Result<std::optional<std::string>> read_secret(const std::string& path);

// Writes a temporary file beside it (0600), syncs it, and renames it over path.
Result<void> write_secret(const std::string& path, std::string_view text);

// Makes the directory (0700) unless it is there.
Result<void> make_private_directory(const std::string& path);

}  // namespace sluice::pki
