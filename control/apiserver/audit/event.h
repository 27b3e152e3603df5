// One audit event as kube-apiserver writes it: the fields of audit.k8s.io/v1 in their order. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/apiserver/audit/policy.h"
#include "control/apiserver/authorization/attributes.h"

namespace sluice::audit {

struct Event {
    using Time = std::chrono::system_clock::time_point;

    Level level = Level::kMetadata;
    std::string id;
    std::string request_uri;
    std::string verb;
    http::Identity user;
    std::string impersonated_user;  // empty: nobody
    std::vector<std::string> impersonated_groups;
    std::string impersonated_uid;
    std::vector<std::string> source_ips;
    std::string user_agent;
    authorization::Attributes asked;
    std::string request_object;   // JSON; empty: none
    std::string response_object;  // JSON; empty: none
    int code = 0;                 // 0: not answered yet
    std::string status_fields;    // of an answer that is a Status: "status", "message", "reason" as JSON members
    Time received;
    std::vector<std::pair<std::string, std::string>> annotations;
};

// A line with its newline.
[[nodiscard]] std::string to_line(const Event& event, Stage stage, Event::Time at);

// The object without its managedFields, and those of the items of a list. What is not a JSON object stays as it is.
[[nodiscard]] std::string without_managed_fields(std::string_view object);

// The JSON without line breaks between its tokens; empty if it is not JSON.
[[nodiscard]] std::string one_line(const std::string& text);

// "status", "message" and "reason" of a Status object as JSON members; empty for anything else.
[[nodiscard]] std::string status_members(std::string_view body);

}  // namespace sluice::audit
