// The value of "continue" in the answer to a list, and in the request for what comes after.
#pragma once

#include <string>
#include <string_view>

#include "control/apiserver/registry/rest/status_error.h"
#include "control/store/store.h"

namespace sluice::registry {

// Where a list goes on: the revision it is read at (0: the newest, the list was expired) and the last key seen,
// relative to the list's prefix. The text is what kube-apiserver writes (base64url of JSON).
struct ContinueToken {
    store::Revision revision = 0;
    bool inconsistent = false;
    std::string after;

    [[nodiscard]] std::string encode() const;
    static Answer<ContinueToken> parse(std::string_view text);
};

}  // namespace sluice::registry
