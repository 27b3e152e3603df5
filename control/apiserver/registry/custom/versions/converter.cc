#include "control/apiserver/registry/custom/versions/converter.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>

#include <chrono>

#include "api/codec/json.h"
#include "api/kubernetes/admissionregistration/v1/webhook.pb.h"
#include "api/kubernetes/apiextensions/v1/customresourcedefinition.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/custom/values_private.h"
#include "control/apiserver/registry/custom/versions/review_private.h"
#include "control/apiserver/registry/rest/lifecycle.h"

namespace sluice::registry {

namespace json = boost::json;

namespace {

using Clock = std::chrono::steady_clock;

std::unique_ptr<webhooks::ClientConfig> client_config(
    const ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1::WebhookClientConfig& config) {
    auto out = std::make_unique<webhooks::ClientConfig>();
    // White space alone is no authority.
    if (config.cabundle().find_first_not_of(" \t\r\n\v\f") != std::string::npos) out->set_cabundle(config.cabundle());
    if (config.has_url()) out->set_url(config.url());
    if (config.has_service()) {
        auto* service = out->mutable_service();
        service->set_namespace_(config.service().namespace_());
        service->set_name(config.service().name());
        if (config.service().has_path()) service->set_path(config.service().path());
        if (config.service().has_port()) service->set_port(config.service().port());
    }
    return out;
}

// Makes a whole object what the schema says, with its metadata left alone.
void settle(json::value* document, const Schema& schema, bool defaults) {
    json::object& whole = document->get_object();
    json::object kept;
    for (const char* name : {"kind", "apiVersion", "metadata"}) {
        if (json::value* member = whole.if_contains(name)) {
            kept[name] = std::move(*member);
            whole.erase(name);
        }
    }
    coerce_embedded(document, schema, nullptr);
    prune(document, schema, true, nullptr);
    if (defaults) set_defaults(document, schema);
    for (auto& [name, member] : kept) whole[name] = std::move(member);
}

}  // namespace

Converter::Converter(ConversionHooks& hooks,
                     const ::k8s::io::apiextensions_apiserver::pkg::apis::apiextensions::v1::
                         CustomResourceDefinition& definition)
    : hooks_(hooks),
      definition_(definition.metadata().name()),
      where_(client_config(definition.spec().conversion().webhook().clientconfig())) {
    for (const std::string& version : definition.spec().conversion().webhook().conversionreviewversions()) {
        if (version != "v1" && version != "v1beta1") continue;
        review_version_ = version;
        break;
    }
}

Converter::~Converter() = default;

void Converter::add_version(const std::string& version, std::shared_ptr<const Schema> schema) {
    schemas_[version] = std::move(schema);
}

Answer<std::unique_ptr<Message>> Converter::message_of(const codec::KindInfo& kind,
                                                       const json::value& document) const {
    auto message = kind.new_object();
    if (const auto ok = codec::from_json_value(document, message.get()); !ok) {
        return refuse(unclassified(fmt::format("{} cannot be read: {}", kind.gvk.kind, ok.error().message)));
    }
    return message;
}

Answer<Converter::Values> Converter::ask(const codec::GroupVersionKind& from, const codec::GroupVersionKind& to,
                                         const std::vector<std::string>& texts,
                                         const std::vector<json::value*>& objects) const {
    const auto start = Clock::now();
    const auto fail = [&](const char* kind, const std::string& why) {
        hooks_.count(definition_, from.version, to.version, texts.size(), Clock::now() - start, kind);
        return refuse(unclassified(fmt::format("conversion webhook for {} {}", shown_gvk(from), why)));
    };
    if (review_version_.empty()) {
        return refuse(unclassified("no supported conversion review versions"));
    }
    const std::string uid = new_uid();
    const auto body = hooks_.ask(*where_, conversion_review(review_version_, uid, to.api_version(), texts));
    if (!body) return fail(kConversionCallFailure, "failed: " + body.error().message);
    auto converted = read_conversion_review(review_version_, uid, *body);
    if (!converted) {
        // What cannot be read at all never came from a webhook.
        const bool unreadable = converted.error().code != Code::kFailedPrecondition;
        return fail(unreadable ? kConversionCallFailure : kConversionMalformedResponse,
                    "failed: " + converted.error().message);
    }
    if (converted->size() != objects.size()) {
        return fail(kConversionPartialResponse,
                    fmt::format("returned {} objects, expected {}", converted->size(), objects.size()));
    }
    const bool single = objects.size() == 1;
    for (std::size_t i = 0; i < objects.size(); ++i) {
        json::value& one = (*converted)[i];
        if (const auto ok = check_converted(*objects[i], one, to); !ok) {
            const bool another = ok.error().code == Code::kFailedPrecondition;
            std::string where = fmt::format("returned invalid converted object at index {}", i);
            if (single) where = another ? "returned invalid object" : "returned invalid object at index 0";
            return fail(kConversionInvalidObject, fmt::format("{}: {}", where, ok.error().message));
        }
        if (const auto ok = restore_metadata(*objects[i], &one); !ok) {
            const std::string where = single ? std::string("returned invalid metadata")
                                             : fmt::format("returned invalid metadata in object at index {}", i);
            return fail(kConversionInvalidObject, fmt::format("{}: {}", where, ok.error().message));
        }
    }
    hooks_.count(definition_, from.version, to.version, texts.size(), Clock::now() - start, nullptr);
    return std::move(*converted);
}

Answer<void> Converter::convert_all(const codec::GroupVersionKind& from, const codec::GroupVersionKind& to,
                                    const std::vector<json::value*>& objects) const {
    const auto schema = schemas_.find(to.version);
    if (schema == schemas_.end()) {
        return refuse(unclassified(
            fmt::format("request to convert CR to an invalid group/version: {}", to.api_version())));
    }
    for (std::size_t next = 0; next < objects.size();) {
        std::vector<std::string> texts;
        std::vector<json::value*> batch;
        std::size_t bytes = 0;
        while (next < objects.size() && batch.size() < kMaxObjectsPerReview) {
            std::string text = codec::write_json(*objects[next]);
            if (!batch.empty() && bytes + text.size() > kMaxReviewBytes) break;
            bytes += text.size();
            texts.push_back(std::move(text));
            batch.push_back(objects[next++]);
        }
        auto converted = ask(from, to, texts, batch);
        if (!converted) return refuse(std::move(converted).error());
        for (std::size_t i = 0; i < batch.size(); ++i) {
            *batch[i] = std::move((*converted)[i]);
            settle(batch[i], *schema->second, false);
        }
    }
    return {};
}

Answer<std::vector<std::unique_ptr<Message>>> Converter::read(const codec::KindInfo& kind,
                                                              const std::vector<std::string_view>& values) const {
    Values documents;
    // In the order of the store: those of one version go in one call.
    std::map<std::string, std::vector<json::value*>> others;
    std::vector<bool> own;
    documents.reserve(values.size());
    for (const std::string_view value : values) {
        auto document = codec::parse_json(value);
        if (!document) return refuse(internal_error(document.error().message));
        const auto gvk = codec::json_kind_of(*document);
        if (!gvk || !document->is_object()) return refuse(internal_error("a stored object has no version"));
        documents.push_back(std::move(*document));
        own.push_back(gvk->version == kind.gvk.version);
        if (own.back()) continue;
        const auto schema = schemas_.find(gvk->version);
        if (schema == schemas_.end() || gvk->group != kind.gvk.group) {
            return refuse(unclassified(
                fmt::format("request to convert CR from an invalid group/version: {}", gvk->api_version())));
        }
        settle(&documents.back(), *schema->second, true);
        others[gvk->version].push_back(&documents.back());
    }
    for (const auto& [version, objects] : others) {
        if (auto ok = convert_all({kind.gvk.group, version, kind.gvk.kind}, kind.gvk, objects); !ok) {
            return refuse(std::move(ok).error());
        }
    }
    std::vector<std::unique_ptr<Message>> out;
    out.reserve(documents.size());
    for (std::size_t i = 0; i < documents.size(); ++i) {
        auto message = message_of(kind, documents[i]);
        if (!message) return refuse(std::move(message).error());
        if (own[i]) {
            if (const auto ok = kind.custom->complete(message->get()); !ok) {
                return refuse(internal_error(ok.error().message));
            }
        }
        out.push_back(std::move(*message));
    }
    return out;
}

Answer<std::string> Converter::write(const codec::KindInfo& kind, const Message& object) const {
    const codec::GroupVersionKind& stored = kind.custom->stored_gvk();
    if (stored.version == kind.gvk.version) return codec::encode_json(object, &stored) + "\n";
    json::value document = codec::to_json_value(object, &kind.gvk);
    if (auto ok = convert_all(kind.gvk, stored, {&document}); !ok) return refuse(std::move(ok).error());
    auto message = message_of(kind, document);
    if (!message) return refuse(std::move(message).error());
    return codec::encode_json(**message, &stored) + "\n";
}

Answer<std::unique_ptr<Message>> Converter::convert(const codec::KindInfo& from, const Message& object,
                                                    const codec::KindInfo& to) const {
    json::value document = codec::to_json_value(object, &from.gvk);
    if (from.gvk.version != to.gvk.version) {
        if (auto ok = convert_all(from.gvk, to.gvk, {&document}); !ok) return refuse(std::move(ok).error());
    }
    return message_of(to, document);
}

}  // namespace sluice::registry
