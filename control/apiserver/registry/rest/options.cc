#include "control/apiserver/registry/rest/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/value.hpp>
#include <charconv>

#include "api/codec/json.h"
#include "api/codec/protobuf.h"
#include "api/codec/yaml.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/negotiate.h"
#include "control/apiserver/registry/validation/field_errors.h"

namespace sluice::registry {

namespace metav1 = ::sluice::codec::metav1;

namespace {

std::string query_text(const http::Request& request, std::string_view name) {
    return std::string(request.parameter(name).value_or(""));
}

template <class Int>
Answer<std::optional<Int>> query_number(const http::Request& request, std::string_view name) {
    const auto text = request.parameter(name);
    if (!text || text->empty()) return std::optional<Int>();
    Int value{};
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc() || end != text->data() + text->size()) {
        return refuse(bad_request(fmt::format("strconv.ParseInt: parsing {}: invalid syntax",
                                              go_quote(*text))));
    }
    return std::optional<Int>(value);
}

// All values of dryRun must be "All".
void check_dry_run(const std::vector<std::string>& values, FieldErrors* errors) {
    for (const std::string& value : values) {
        if (value != "All") errors->not_supported("dryRun", value, {"All"});
    }
}

void check_manager(const std::string& name, FieldErrors* errors) {
    constexpr std::size_t kMaxManager = 128;
    if (name.size() > kMaxManager) errors->too_long("fieldManager", kMaxManager);
    const bool printable = std::all_of(name.begin(), name.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte >= 0x20 && byte != 0x7f;
    });
    if (!printable) errors->invalid("fieldManager", name, "should only contain printable characters");
}

std::vector<std::string> query_all(const http::Request& request, std::string_view name) {
    std::vector<std::string> out;
    for (const auto& [key, value] : request.query) {
        if (key == name && !value.empty()) out.push_back(value);
    }
    return out;
}

VersionMatch parse_match(const std::string& text, FieldErrors* errors) {
    if (text == "Exact") return VersionMatch::kExact;
    if (text == "NotOlderThan") return VersionMatch::kNotOlderThan;
    if (!text.empty()) {
        errors->not_supported("resourceVersionMatch", text, {"Exact", "NotOlderThan", ""});
    }
    return VersionMatch::kUnset;
}

void check_version_match(const ListOptions& options, bool watch, FieldErrors* errors) {
    const std::string field = "resourceVersionMatch";
    const bool given = options.match != VersionMatch::kUnset;
    if (watch || options.send_initial_events) {
        if (given && !options.send_initial_events) {
            errors->forbidden(field,
                              "resourceVersionMatch is forbidden for watch unless "
                              "sendInitialEvents is provided");
        }
        if (options.send_initial_events) {
            if (!watch) {
                errors->forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
            } else if (options.match != VersionMatch::kNotOlderThan) {
                errors->forbidden(field,
                                  "sendInitialEvents requires setting resourceVersionMatch to "
                                  "NotOlderThan");
            }
        }
        return;
    }
    if (!given) return;
    if (options.resource_version.empty()) {
        errors->forbidden(field,
                          "resourceVersionMatch is forbidden unless resourceVersion is provided");
    }
    if (!options.continue_token.empty()) {
        errors->forbidden(field, "resourceVersionMatch is forbidden when continue is provided");
    }
    if (options.match == VersionMatch::kExact && options.resource_version == "0") {
        errors->forbidden(
            field, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
    }
}

Answer<void> read_delete_body(const http::Request& request, metav1::DeleteOptions* out) {
    auto encoding = negotiate_input(request.header("content-type"));
    if (!encoding) return refuse(std::move(encoding).error());
    if (*encoding == Encoding::kProtobuf) {
        auto envelope = codec::open_envelope(request.body);
        if (!envelope) return refuse(bad_request(envelope.error().message));
        if (auto done = codec::decode_protobuf_raw(envelope->raw, out); !done) {
            return refuse(bad_request(done.error().message));
        }
        return {};
    }
    if (*encoding == Encoding::kYaml) {
        auto json = codec::yaml_to_json(request.body);
        if (!json) return refuse(bad_request(json.error().message));
        if (auto done = codec::from_json_value(*json, out); !done) {
            return refuse(bad_request(done.error().message));
        }
        return {};
    }
    if (auto done = codec::decode_json(request.body, out); !done) {
        return refuse(bad_request(done.error().message));
    }
    return {};
}

}  // namespace

bool query_flag(const http::Request& request, std::string_view name) {
    const auto value = request.parameter(name);
    if (!value) return false;
    return *value != "0" && *value != "false" && *value != "False" && *value != "FALSE";
}

Answer<store::Revision> parse_resource_version(std::string_view text) {
    if (text.empty()) return store::Revision{0};
    store::Revision revision = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), revision);
    if (error != std::errc() || end != text.data() + text.size()) {
        return refuse(unclassified(
            fmt::format("resourceVersion: Invalid value: {}: strconv.ParseUint: parsing {}: {}",
                        go_quote(text), go_quote(text),
                        error == std::errc::result_out_of_range ? "value out of range"
                                                                : "invalid syntax")));
    }
    return revision;
}

Answer<ListOptions> parse_list_options(const http::Request& request, bool watch) {
    ListOptions options;
    options.label_selector = query_text(request, "labelSelector");
    options.field_selector = query_text(request, "fieldSelector");
    options.resource_version = query_text(request, "resourceVersion");
    options.continue_token = query_text(request, "continue");
    options.allow_bookmarks = query_flag(request, "allowWatchBookmarks");
    if (request.parameter("sendInitialEvents")) {
        options.send_initial_events = query_flag(request, "sendInitialEvents");
    }
    auto limit = query_number<std::int64_t>(request, "limit");
    if (!limit) return refuse(std::move(limit).error());
    options.limit = static_cast<std::uint64_t>(std::max<std::int64_t>(0, limit->value_or(0)));
    auto timeout = query_number<std::int64_t>(request, "timeoutSeconds");
    if (!timeout) return refuse(std::move(timeout).error());
    if (*timeout && **timeout > 0) {
        constexpr std::int64_t kMaxTimeout = 24 * 3600;
        options.timeout_seconds = static_cast<std::uint32_t>(std::min(**timeout, kMaxTimeout));
    }
    FieldErrors errors;
    options.match = parse_match(query_text(request, "resourceVersionMatch"), &errors);
    check_version_match(options, watch, &errors);
    if (!errors.empty()) return refuse(invalid_options("ListOptions", errors));
    auto revision = parse_resource_version(options.resource_version);
    if (!revision) return refuse(std::move(revision).error());
    options.revision = *revision;
    return options;
}

Answer<WriteOptions> parse_write_options(const http::Request& request,
                                         std::string_view options_kind) {
    WriteOptions options;
    FieldErrors errors;
    const bool patches = options_kind == "PatchOptions";
    const bool applies = patches && request.header("content-type").starts_with("application/apply-patch+");
    options.field_manager = query_text(request, "fieldManager");
    options.force = query_flag(request, "force");
    if (patches && !applies && request.parameter("force")) {
        errors.forbidden("force", "may not be specified for non-apply patch");
    }
    if (applies && options.field_manager.empty()) errors.required("fieldManager", "is required for apply patch");
    check_manager(options.field_manager, &errors);
    const auto dry_run = query_all(request, "dryRun");
    options.dry_run = !dry_run.empty();
    check_dry_run(dry_run, &errors);
    const std::string validation = query_text(request, "fieldValidation");
    if (validation == "Ignore") {
        options.validation = FieldValidation::kIgnore;
    } else if (validation == "Strict") {
        options.validation = FieldValidation::kStrict;
    } else if (!validation.empty() && validation != "Warn") {
        errors.not_supported("fieldValidation", validation, {"", "Ignore", "Strict", "Warn"});
    }
    if (!errors.empty()) return refuse(invalid_options(options_kind, errors));
    return options;
}

Answer<DeleteOptions> parse_delete_options(const http::Request& request) {
    metav1::DeleteOptions message;
    if (!request.body.empty()) {
        if (auto done = read_delete_body(request, &message); !done) {
            return refuse(std::move(done).error());
        }
    } else {
        auto grace = query_number<std::int64_t>(request, "gracePeriodSeconds");
        if (!grace) return refuse(std::move(grace).error());
        if (*grace) message.set_graceperiodseconds(**grace);
        if (const auto policy = request.parameter("propagationPolicy")) {
            message.set_propagationpolicy(std::string(*policy));
        }
        if (request.parameter("orphanDependents")) {
            message.set_orphandependents(query_flag(request, "orphanDependents"));
        }
        for (const auto& value : query_all(request, "dryRun")) message.add_dryrun(value);
    }
    return delete_options_of(message);
}

Answer<DeleteOptions> delete_options_of(const metav1::DeleteOptions& message) {
    DeleteOptions options;
    FieldErrors errors;
    if (message.has_propagationpolicy() && message.has_orphandependents()) {
        errors.invalid("propagationPolicy", message.propagationpolicy(),
                       "orphanDependents and deletionPropagation cannot be both set");
    }
    const std::string& policy = message.propagationpolicy();
    if (policy == "Foreground") {
        options.propagation = Propagation::kForeground;
    } else if (policy == "Background") {
        options.propagation = Propagation::kBackground;
    } else if (policy == "Orphan" || message.orphandependents()) {
        options.propagation = Propagation::kOrphan;
    } else if (message.has_orphandependents()) {
        options.propagation = Propagation::kBackground;
    } else if (message.has_propagationpolicy()) {
        errors.not_supported("propagationPolicy", policy,
                             {"Foreground", "Background", "Orphan", "nil"});
    }
    check_dry_run({message.dryrun().begin(), message.dryrun().end()}, &errors);
    if (!errors.empty()) return refuse(invalid_options("DeleteOptions", errors));
    options.dry_run = message.dryrun_size() > 0;
    if (message.has_graceperiodseconds()) options.grace_seconds = message.graceperiodseconds();
    if (message.preconditions().has_uid()) options.uid = message.preconditions().uid();
    if (message.preconditions().has_resourceversion()) {
        options.resource_version = message.preconditions().resourceversion();
    }
    return options;
}

}  // namespace sluice::registry
