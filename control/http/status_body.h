// The failures that the HTTP layer itself answers, as the Status objects Kubernetes clients expect.
// The resource API builds richer ones with the codec.
#pragma once

#include <string>
#include <string_view>

#include "control/http/server.h"

namespace sluice::http {

// `text` as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD.
[[nodiscard]] std::string json_quote(std::string_view text);

// A meta/v1 Status: {"kind":"Status",...,"reason":reason,"code":code}.
[[nodiscard]] Response status_response(int code, std::string_view reason, std::string_view message);

// text/plain, as kube-apiserver answers outside of its API groups.
[[nodiscard]] Response text_response(int code, std::string body);
[[nodiscard]] Response json_response(std::string body);

// "OK", "Not Found"; "Status" for a code without a name here.
[[nodiscard]] std::string_view reason_phrase(int code);

}  // namespace sluice::http
