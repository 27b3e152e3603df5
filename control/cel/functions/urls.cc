// Kubernetes' library "urls".
#include "control/cel/errors_private.h"
#include "control/cel/functions/url_private.h"
#include "control/cel/functions_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;

const Type& url_type() {
    static const Type type = Type::opaque("kubernetes.URL");
    return type;
}

class UrlValue final : public OpaqueValue {
public:
    explicit UrlValue(Url value) : url(std::move(value)) {}
    Type type() const override { return url_type(); }
    Result<bool> equals(const OpaqueValue& other) const override {
        return url == static_cast<const UrlValue&>(other).url;
    }
    const Url url;
};

const Url& url(const Value& value) { return value.as<UrlValue>()->url; }

Result<Value> to_url(CallContext& context, Args args) {
    const std::string_view text = args[0].as_string()->view();
    if (!context.meter.build(4 * text.size())) return Meter::stopped();
    auto parsed = parse_url(text);
    if (!parsed) {
        return failed("URL parse error during conversion from string: {}", parsed.error().message);
    }
    return Value::opaque(std::make_shared<UrlValue>(std::move(*parsed)));
}

Result<Value> is_url(CallContext&, Args args) {
    return Value::boolean(parse_url(args[0].as_string()->view()).has_value());
}

Result<Value> scheme(CallContext&, Args args) { return Value::string(url(args[0]).scheme); }
Result<Value> host(CallContext&, Args args) { return Value::string(url(args[0]).host); }
Result<Value> hostname(CallContext&, Args args) { return Value::string(url(args[0]).hostname()); }
Result<Value> port(CallContext&, Args args) { return Value::string(url(args[0]).port()); }
Result<Value> path(CallContext&, Args args) { return Value::string(url(args[0]).escaped_path); }

Result<Value> query(CallContext& context, Args args) {
    // Each parameter is compared with those before it.
    const std::size_t size = url(args[0]).query.size();
    if (!context.meter.build(40 * size) || !context.meter.work(size * size / 64)) {
        return Meter::stopped();
    }
    std::vector<std::pair<Value, Value>> entries;
    for (auto& [key, values] : url(args[0]).parameters()) {
        std::vector<Value> list;
        for (std::string& value : values) list.push_back(Value::string(std::move(value)));
        entries.emplace_back(Value::string(key), Value::list(std::move(list)));
    }
    return Value::map(std::move(entries));
}

}  // namespace

void add_urls(FunctionTable* table) {
    const Type s = Type::string();
    const Type& u = url_type();
    table->global("url", "string_to_url", {s}, u, to_url, CostRule::kResize);
    table->global("isURL", "is_url_string", {s}, Type::boolean(), is_url);
    table->member("getScheme", "url_get_scheme", {u}, s, scheme);
    table->member("getHost", "url_get_host", {u}, s, host);
    table->member("getHostname", "url_get_hostname", {u}, s, hostname);
    table->member("getPort", "url_get_port", {u}, s, port);
    table->member("getEscapedPath", "url_get_escaped_path", {u}, s, path);
    table->member("getQuery", "url_get_query", {u}, Type::map(s, Type::list(s)), query);
}

}  // namespace sluice::cel
