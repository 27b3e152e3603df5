// Look-ups in a request's headers and query.
#include <algorithm>

#include "control/http/server.h"
#include "control/http/status_body.h"

namespace sluice::http {

std::string_view Request::header(std::string_view lower_case_name) const {
    const auto found = std::find_if(headers.begin(), headers.end(), [&](const auto& header) {
        return header.first == lower_case_name;
    });
    return found == headers.end() ? std::string_view{} : std::string_view{found->second};
}

std::optional<std::string_view> Request::parameter(std::string_view name) const {
    const auto found = std::find_if(query.begin(), query.end(),
                                    [&](const auto& entry) { return entry.first == name; });
    if (found == query.end()) return std::nullopt;
    return std::string_view{found->second};
}

void Responder::upgrade(Response /*head*/, OpenCallback on_open) {
    send(status_response(500, "InternalError", "this answer cannot be an upgraded connection"));
    on_open(nullptr);
}

}  // namespace sluice::http
