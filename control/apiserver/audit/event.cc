#include "control/apiserver/audit/event.h"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <ctime>
#include <iterator>

#include "control/http/status_body.h"

namespace sluice::audit {
namespace {

namespace json = boost::json;

std::string time_text(Event::Time time) {
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch())
                        .count();
    const std::time_t seconds = us / 1'000'000;
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", parts.tm_year + 1900,
                       parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                       us % 1'000'000);
}

void add(std::string* out, std::string_view name, std::string_view value) {
    if (value.empty()) return;
    if (out->back() != '{') *out += ',';
    fmt::format_to(std::back_inserter(*out), "\"{}\":{}", name, http::json_quote(value));
}

void add_raw(std::string* out, std::string_view name, std::string_view value) {
    if (value.empty()) return;
    if (out->back() != '{') *out += ',';
    fmt::format_to(std::back_inserter(*out), "\"{}\":{}", name, value);
}

void add_list(std::string* out, std::string_view name, const std::vector<std::string>& values) {
    if (values.empty()) return;
    std::string list = "[";
    for (const auto& value : values) {
        if (list.size() > 1) list += ',';
        list += http::json_quote(value);
    }
    add_raw(out, name, list + "]");
}

std::string user_text(const std::string& name, const std::string& uid,
                      const std::vector<std::string>& groups) {
    std::string out = "{";
    add(&out, "username", name);
    add(&out, "uid", uid);
    add_list(&out, "groups", groups);
    return out + "}";
}

std::string reference(const authorization::Attributes& asked) {
    std::string out = "{";
    add(&out, "resource", asked.resource);
    add(&out, "namespace", asked.namespace_name);
    add(&out, "name", asked.name);
    add(&out, "apiGroup", asked.group);
    add(&out, "apiVersion", asked.version);
    add(&out, "subresource", asked.subresource);
    return out + "}";
}

void drop_fields(json::value* value) {
    if (!value->is_object()) return;
    json::object& object = value->get_object();
    if (json::value* meta = object.if_contains("metadata"); meta != nullptr && meta->is_object()) {
        meta->get_object().erase("managedFields");
    }
    if (json::value* items = object.if_contains("items"); items != nullptr && items->is_array()) {
        for (auto& item : items->get_array()) drop_fields(&item);
    }
}

}  // namespace

std::string to_line(const Event& event, Stage stage, Event::Time at) {
    std::string out = "{";
    add(&out, "kind", "Event");
    add(&out, "apiVersion", "audit.k8s.io/v1");
    add(&out, "level", level_name(event.level));
    add(&out, "auditID", event.id);
    add(&out, "stage", stage_name(stage));
    add(&out, "requestURI", event.request_uri);
    add(&out, "verb", event.verb);
    add_raw(&out, "user", user_text(event.user.user, event.user.uid, event.user.groups));
    if (!event.impersonated_user.empty()) {
        add_raw(&out, "impersonatedUser",
                user_text(event.impersonated_user, event.impersonated_uid,
                          event.impersonated_groups));
    }
    add_list(&out, "sourceIPs", event.source_ips);
    add(&out, "userAgent", event.user_agent);
    if (event.asked.is_resource) add_raw(&out, "objectRef", reference(event.asked));
    if (event.code != 0 && stage != Stage::kRequestReceived) {
        add_raw(&out, "responseStatus",
                fmt::format("{{\"metadata\":{{}},{}\"code\":{}}}",
                            event.status_fields.empty() ? "" : event.status_fields + ",",
                            event.code));
    }
    if (stage == Stage::kResponseComplete) {
        if (event.level >= Level::kRequest) add_raw(&out, "requestObject", event.request_object);
        if (event.level >= Level::kRequestResponse) {
            add_raw(&out, "responseObject", event.response_object);
        }
    }
    add(&out, "requestReceivedTimestamp", time_text(event.received));
    add(&out, "stageTimestamp", time_text(at));
    if (!event.annotations.empty() && stage != Stage::kRequestReceived) {
        std::string list = "{";
        for (const auto& [name, value] : event.annotations) {
            if (list.size() > 1) list += ',';
            list += http::json_quote(name) + ":" + http::json_quote(value);
        }
        add_raw(&out, "annotations", list + "}");
    }
    return out + "}\n";
}

std::string without_managed_fields(std::string_view object) {
    boost::system::error_code error;
    json::value value = json::parse({object.data(), object.size()}, error);
    if (error) return std::string(object);
    drop_fields(&value);
    return json::serialize(value);
}

std::string one_line(const std::string& text) {
    boost::system::error_code error;
    const json::value value = json::parse(text, error);
    return error ? std::string() : json::serialize(value);
}

std::string status_members(std::string_view body) {
    // Nothing else begins so, and a list of megabytes need not be read to know.
    if (body.find("\"kind\":\"Status\"") > 64) return {};
    boost::system::error_code error;
    const json::value value = json::parse({body.data(), body.size()}, error);
    if (error || !value.is_object()) return {};
    std::string out;
    for (const char* name : {"status", "message", "reason"}) {
        const json::value* found = value.get_object().if_contains(name);
        if (found == nullptr || !found->is_string()) continue;
        if (!out.empty()) out += ',';
        out += fmt::format("\"{}\":{}", name, json::serialize(*found));
    }
    return out;
}

}  // namespace sluice::audit
