// Notes who did what: a line of JSON (audit.k8s.io/v1 Event) for each stage of each request that the policy names.
// Every answer, audited or not, carries an Audit-ID.
//
//   begin(request) -> Record -> identified(): the policy decides; RequestReceived
//       send / begin_stream / the end of a stream -> ResponseStarted, ResponseComplete -> log_file.h
//
// Nothing here waits: what the buffer cannot take is dropped and counted.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "api/base/result.h"
#include "control/apiserver/audit/log_file.h"
#include "control/apiserver/audit/policy.h"
#include "control/apiserver/authorization/attributes.h"
#include "control/http/forwarding_responder.h"

namespace sluice::audit {

inline constexpr std::size_t kMaxAuditIdBytes = 64;  // of a client's own; longer ones are cut

// A body that is not JSON as JSON; nullopt when it cannot be.
using ToJson =
    std::function<std::optional<std::string>(std::string_view body, std::string_view content_type)>;

struct AuditOptions {
    LogOptions log;           // --audit-log-*; without a path nothing is noted
    std::string policy_path;  // --audit-policy-file; without one nothing is noted
    ToJson to_json;
};

class Auditor;

// One request's; the Responder that its handlers are given. Lives until the answer is over.
class Record : public http::ForwardingResponder {
public:
    using ForwardingResponder::ForwardingResponder;
    // The identity is settled; who is asking for whom is known. before: the identity before impersonation.
    virtual void identified(const authorization::Attributes& asked, const http::Identity& before) = 0;
    // What was decided and why, in the authorizer's words. Not called for what nobody came to decide about: strangers,
    // and impersonation that is refused.
    virtual void authorized(bool allowed, std::string_view reason) = 0;
};

// Thread-safe; outlives its records' requests by shared ownership.
class Auditor : public std::enable_shared_from_this<Auditor> {
public:
    static Result<std::shared_ptr<Auditor>> create(AuditOptions options);

    [[nodiscard]] std::shared_ptr<Record> begin(std::shared_ptr<const http::Request> request,
                                                std::shared_ptr<http::Responder> responder);
    // Prometheus text under kube-apiserver's names.
    [[nodiscard]] std::string metrics() const;
    // Waits until what was noted so far is written.
    void flush();

private:
    friend class RecordImpl;
    explicit Auditor(AuditOptions options) : options_(std::move(options)) {}

    AuditOptions options_;
    std::optional<Policy> policy_;
    std::unique_ptr<LogFile> log_;
    std::atomic<std::uint64_t> events_{0};
};

}  // namespace sluice::audit
