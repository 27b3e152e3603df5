// Request options: the query parameters of each verb, and DeleteOptions bodies, read and checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "control/http/server.h"
#include "control/apiserver/registry/rest/status_error.h"
#include "control/store/store.h"

namespace k8s::io::apimachinery::pkg::apis::meta::v1 {
class DeleteOptions;
}

namespace sluice::registry {

enum class VersionMatch { kUnset, kExact, kNotOlderThan };

struct ListOptions {
    std::string label_selector;
    std::string field_selector;
    std::string resource_version;  // "" is not "0"
    store::Revision revision = 0;  // the same as a number
    VersionMatch match = VersionMatch::kUnset;
    std::uint64_t limit = 0;  // 0: all
    std::string continue_token;
    bool allow_bookmarks = false;
    std::optional<bool> send_initial_events;
    std::optional<std::uint32_t> timeout_seconds;
};

enum class FieldValidation { kIgnore, kWarn, kStrict };

struct WriteOptions {
    bool dry_run = false;
    bool force = false;         // of an apply: fields of other managers are taken
    std::string field_manager;  // may be empty
    FieldValidation validation = FieldValidation::kWarn;
};

enum class Propagation { kDefault, kBackground, kForeground, kOrphan };

struct DeleteOptions {
    bool dry_run = false;
    std::optional<std::int64_t> grace_seconds;
    Propagation propagation = Propagation::kDefault;
    std::optional<std::string> uid;
    std::optional<std::string> resource_version;
};

Answer<ListOptions> parse_list_options(const http::Request& request, bool watch);
// options_kind: CreateOptions, UpdateOptions or PatchOptions, as errors name it.
Answer<WriteOptions> parse_write_options(const http::Request& request,
                                         std::string_view options_kind);
// The body (JSON, YAML or protobuf) if there is one, else the query.
Answer<DeleteOptions> parse_delete_options(const http::Request& request);

// The same from a message, such as an Eviction carries.
Answer<DeleteOptions> delete_options_of(const codec::metav1::DeleteOptions& message);

// A resourceVersion as Kubernetes reads it; "" is 0. The error is an unclassified 500, as upstream answers.
Answer<store::Revision> parse_resource_version(std::string_view text);

// A Go boolean query value: anything but "", "0" and "false" is true.
[[nodiscard]] bool query_flag(const http::Request& request, std::string_view name);

}  // namespace sluice::registry
