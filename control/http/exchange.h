// What connections of both protocols do alike with a request and its answer: who is asking, and how a large body
// is coded. Private to this folder.
#pragma once

#include <optional>
#include <string_view>

#include "control/http/server.h"
#include "control/http/tls.h"

namespace sluice::http {

struct Shared;

// The identity of a request with this Authorization header on a connection with this certificate; one without
// a user is anonymous, and what that may do is the handler's to say. nullopt: the credentials are no good (401).
[[nodiscard]] std::optional<Identity> authenticate(const Shared& shared,
                                                   const CertificateIdentity& certificate,
                                                   std::string_view authorization);

inline constexpr std::uint32_t kUntimed = 0xffffffff;

// How long the request may take: what its parameter `timeout` asks for ("10s", "1m30s"), but no longer than the
// server's own limit; kUntimed for those that the server does not time, and whose parameters are not its to read.
// kInvalidArgument: it is no duration, in kube-apiserver's words.
Result<std::uint32_t> request_time_ms(const Request& request, const Shared& shared);

[[nodiscard]] Response unauthorized();
[[nodiscard]] Response body_too_large();
[[nodiscard]] Response header_too_large();
[[nodiscard]] Response timed_out();

// Compresses a body above kMinGzipBytes if the client takes it, and says in Vary that it depends on that. Costs
// some milliseconds a megabyte, so that it belongs on the thread that made the answer.
void code_body(Response* response, bool gzip_accepted);

[[nodiscard]] std::string lower_case(std::string_view name);

}  // namespace sluice::http
