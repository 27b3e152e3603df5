// Kubernetes' library "format": format.dns1123Label().validate("..."), format.named("uuid").
#include "control/cel/functions/format_private.h"

#include <algorithm>

#include "api/codec/json_text.h"
#include "api/codec/time.h"
#include "control/apiserver/registry/validation/names.h"
#include "control/cel/errors_private.h"
#include "control/cel/functions/url_private.h"
#include "control/cel/functions_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;
using Findings = std::vector<std::string>;

Findings said(bool valid, const char* message) {
    return valid ? Findings() : Findings{message};
}

// A prefix of a name: what generateName would be checked as.
template <registry::NameCheck check>
Findings prefix(std::string_view text) {
    return check(registry::masked_generate_name(text));
}

Findings uri(std::string_view text) {
    const auto url = parse_url(text);
    return url ? Findings() : Findings{url.error().message};
}

bool is_uuid(std::string_view text) {
    constexpr std::size_t kGroups[] = {8, 4, 4, 4, 12};
    std::size_t at = 0;
    for (const std::size_t group : kGroups) {
        // Hyphens may be left out.
        if (at > 0 && at < text.size() && text[at] == '-') ++at;
        for (std::size_t i = 0; i < group; ++i, ++at) {
            if (at >= text.size() || std::isxdigit(static_cast<unsigned char>(text[at])) == 0) {
                return false;
            }
        }
    }
    return at == text.size();
}

Findings uuid(std::string_view text) {
    return said(is_uuid(text), "does not match the UUID format");
}
Findings byte(std::string_view text) {
    return said(!text.empty() && codec::decode_base64(text).has_value(), "invalid base64");
}
Findings date(std::string_view text) {
    return said(text.size() == 10 && codec::parse_time(std::string(text) + "T00:00:00Z").has_value(),
                "invalid date");
}
Findings datetime(std::string_view text) {
    return said(codec::parse_time(text).has_value(), "invalid datetime");
}

struct Format {
    std::string_view function;
    std::string_view name;
    Findings (*check)(std::string_view text);
    // As Kubernetes counts the costs of checking.
    std::uint64_t regex_size;
};

constexpr Format kFormats[] = {
    {"dns1123Label", "DNS1123Label", registry::check_dns1123_label, 30},
    {"dns1123Subdomain", "DNS1123Subdomain", registry::check_dns1123_subdomain, 60},
    {"dns1035Label", "DNS1035Label", registry::check_dns1035_label, 30},
    {"qualifiedName", "QualifiedName", registry::check_qualified_name, 60},
    {"dns1123LabelPrefix", "DNS1123LabelPrefix", prefix<registry::check_dns1123_label>, 30},
    {"dns1123SubdomainPrefix", "DNS1123SubdomainPrefix", prefix<registry::check_dns1123_subdomain>,
     60},
    {"dns1035LabelPrefix", "DNS1035LabelPrefix", prefix<registry::check_dns1035_label>, 30},
    {"labelValue", "LabelValue", registry::check_label_value, 40},
    {"uri", "URI", uri, 1300},
    {"uuid", "uuid", uuid, 76},
    {"byte", "byte", byte, 89},
    {"date", "date", date, 87},
    {"datetime", "datetime", datetime, 87},
};

const Type& format_type() {
    static const Type type = Type::opaque("kubernetes.NamedFormat");
    return type;
}

class FormatValue final : public OpaqueValue {
public:
    explicit FormatValue(const Format& value) : format(value) {}
    Type type() const override { return format_type(); }
    Result<bool> equals(const OpaqueValue& other) const override {
        return &format == &static_cast<const FormatValue&>(other).format;
    }
    const Format& format;
};

Value value_of(const Format& format) {
    return Value::opaque(std::make_shared<FormatValue>(format));
}

template <std::size_t index>
Result<Value> constant(CallContext&, Args) {
    return value_of(kFormats[index]);
}

template <std::size_t... indices>
void add_constants(FunctionTable* table, std::index_sequence<indices...>) {
    const auto add = [table](const Format& format, Implementation implementation) {
        const std::string name = "format." + std::string(format.function);
        table->global(name, name, {}, format_type(), implementation);
    };
    (add(kFormats[indices], constant<indices>), ...);
}

Result<Value> named(CallContext&, Args args) {
    const std::string_view name = args[0].as_string()->view();
    const auto* found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                     [name](const Format& f) { return f.function == name; });
    if (found == std::end(kFormats)) return Value::optional_none();
    return Value::optional_of(value_of(*found));
}

Result<Value> validate(CallContext& context, Args args) {
    const std::string_view text = args[1].as_string()->view();
    if (!context.meter.work(8 * text.size())) return Meter::stopped();
    Findings findings = args[0].as<FormatValue>()->format.check(text);
    if (findings.empty()) return Value::optional_none();
    std::vector<Value> out;
    for (std::string& finding : findings) out.push_back(Value::string(std::move(finding)));
    return Value::optional_of(Value::list(std::move(out)));
}

}  // namespace

bool is_dns_label(std::string_view text) { return registry::check_dns1123_label(text).empty(); }
bool is_dns_subdomain(std::string_view text) {
    return registry::check_dns1123_subdomain(text).empty();
}

std::uint64_t format_regex_size(const Value& value) {
    const auto* format = value.as<FormatValue>();
    return format == nullptr ? 1 : format->format.regex_size;
}

void add_formats(FunctionTable* table) {
    const Type s = Type::string();
    table->member("validate", "format-validate", {format_type(), s},
                  Type::optional(Type::list(s)), validate, CostRule::kValidate);
    table->global("format.named", "format-named", {s}, Type::optional(format_type()), named);
    add_constants(table, std::make_index_sequence<std::size(kFormats)>());
}

}  // namespace sluice::cel
