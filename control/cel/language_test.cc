// What expressions give. Expectations: cel-spec (tests/simple: basic, comparisons, integer_math, fp_math,
// lists, fields, logic, macros, macros2, optionals, conversions).
#include "control/cel/test_rows.h"

namespace sluice::cel {
namespace {

TEST(CelLanguage, Arithmetic) {
    expect_rows({
        {"40 + 2", "42"},
        {"42 - 43", "-1"},
        {"-7 / 2", "-3"},
        {"-7 % 2", "-1"},
        {"43u % 5u", "3u"},
        {"1.5 * 2.0", "3"},
        {"15.75 / 0.0", "+Inf"},
        {"1 / 0", "error: division by zero"},
        {"1 % 0", "error: modulus by zero"},
        {"1u / 0u", "error: division by zero"},
        {"9223372036854775807 + 1", "error: integer overflow"},
        {"-9223372036854775808 - 1", "error: integer overflow"},
        {"5000000000 * 5000000000", "error: integer overflow"},
        {"-(-9223372036854775808)", "error: integer overflow"},
        {"-9223372036854775808 / -1", "error: integer overflow"},
        {"0u - 1u", "error: unsigned integer overflow"},
        {"18446744073709551615u + 1u", "error: unsigned integer overflow"},
        {"'a' + 'b'", "'ab'"},
        {"[1] + [2, 3]", "[1, 2, 3]"},
    });
}

TEST(CelLanguage, EqualityIsByValue) {
    expect_rows({
        {"dyn(1) == 1u && dyn(1) == 1.0 && dyn(1u) == 1.0", "true"},
        {"dyn(1.0) == dyn('1')", "false"},
        {"double('NaN') == double('NaN')", "false"},
        {"[1, 2] == [1, 2] && [1] != [1, 2]", "true"},
        {"dyn([1]) == [1.0]", "true"},
        {"{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", "true"},
        {"{'a': 1} == {'a': 2}", "false"},
        {"dyn({1: 'a'}) == {1u: 'a'}", "true"},
        {"timestamp(0) == timestamp('1970-01-01T00:00:00Z')", "true"},
        {"b'a' == b'a' && dyn(b'a') != 'a'", "true"},
        {"type(1) == int && type([]) == list && type(null) == null_type && type(int) == type", "true"},
        {"dyn(null) == dyn(1)", "false"},
        {"optional.of(1) == optional.of(1) && optional.none() != optional.of(1)", "true"},
        {"optional.none() == optional.none()", "true"},
    });
}

TEST(CelLanguage, Order) {
    expect_rows({
        {"1 < 2 && 2u >= 1u && 1.5 <= 1.5 && !(1 > 1)", "true"},
        {"1 < 1.5 && 2u > 1 && 1.0 <= 1u && -1 < 0u", "true"},
        {"9223372036854775807 < 18446744073709551615u", "true"},
        {"-1 < 18446744073709551615u", "true"},
        {"1.0e20 > 9223372036854775807", "true"},
        {"false < true && 'a' < 'b' && b'a' < b'b'", "true"},
        {"'\\u00ff' < '\\U0001F431'", "true"},
        {"duration('1s') < duration('2s') && timestamp(1) > timestamp(0)", "true"},
        {"dyn('a') < 1", "error: no such overload"},
        {"double('NaN') < 1.0", "error: NaN values cannot be ordered"},
    });
}

TEST(CelLanguage, ErrorsAreAbsorbedWhereTheOtherSideDecides) {
    expect_rows({
        {"1 / 0 > 0 || true", "true"},
        {"true || 1 / 0 > 0", "true"},
        {"false || 1 / 0 > 0", "error: division by zero"},
        {"1 / 0 > 0 && false", "false"},
        {"1 / 0 > 0 && true", "error: division by zero"},
        {"1 / 0 > 0 || 1 % 0 > 0", "error: division by zero"},
        {"dyn(1) || true", "true"},
        {"dyn(1) || false", "error: no such overload"},
        {"true ? 1 : 1 / 0", "1"},
        {"1 / 0 > 0 ? 1 : 2", "error: division by zero"},
        {"[0, 1].exists(x, 1 / x == 1)", "true"},
        {"[0, 1].all(x, 1 / x == 5)", "false"},
        {"[1, 0].all(x, 1 / x == 1)", "error: division by zero"},
        {"[0, 1].exists_one(x, 1 / x == 1)", "error: division by zero"},
        {"[0, 1].map(x, 1 / x)", "error: division by zero"},
    });
}

TEST(CelLanguage, ListsAndMaps) {
    expect_rows({
        {"[7, 8][1]", "8"},
        {"[7, 8][2]", "error: index out of bounds: 2"},
        {"[7, 8][-1]", "error: index out of bounds: -1"},
        {"[7, 8][dyn(1.0)]", "8"},
        {"[7, 8][dyn('a')]", "error: unsupported index type 'string' in list"},
        {"([1] + [2] + [3])[2]", "3"},
        {"{'a': 1}['a'] + {'a': 1}.a", "2"},
        {"{'a': 1}.b", "error: no such key: b"},
        {"{1: 'a'}[2]", "error: no such key: 2"},
        {"{1: 'a'}[dyn(1u)]", "'a'"},
        {"has({'a': 1}.a) && !has({'a': 1}.b)", "true"},
        {"has({'a': dyn(1)}.a.b)", "false"},
        {"dyn(1).a", "error: no such overload"},
        {"2 in [1, 2] && !(3 in [1, 2]) && 'a' in {'a': 1} && !('b' in {'a': 1})", "true"},
        {"dyn(2) in [1.0, 2.0]", "true"},
        {"{dyn([]): 1}", "error: unsupported key type: list"},
        {"{'a': 1, 'a': 2}", "{'a': 2}"},
        {"size([1, 2]) + {'a': 1}.size() + 'é'.size() + size(b'é')", "6"},
    });
}

TEST(CelLanguage, Macros) {
    expect_rows({
        {"[1, 2, 3].all(x, x > 0)", "true"},
        {"[].all(x, false)", "true"},
        {"[].exists(x, true)", "false"},
        {"[1, 2, 3].exists(x, x > 2)", "true"},
        {"[1, 2, 2].exists_one(x, x == 1)", "true"},
        {"[1, 2, 2].exists_one(x, x == 2)", "false"},
        {"[1, 2, 3].map(x, x * x)", "[1, 4, 9]"},
        {"[1, 2, 3].map(x, x > 1, x * x)", "[4, 9]"},
        {"[1, 2, 3].filter(x, x > 1)", "[2, 3]"},
        {"[1, 2, 3].filter(x, dyn(x))", "error: no such overload"},
        {"{'a': 1, 'b': 2}.map(k, k + '!')", "['a!', 'b!']"},
        {"[[1], [2, 3]].map(x, x.map(y, y + size(x)))", "[[2], [4, 5]]"},
        {"[1].map(x, [2].map(x, x))", "[[2]]"},
        {"[1, 2].map(x, x).map(x, [x].all(y, y == x))", "[true, true]"},
    });
}

TEST(CelLanguage, MacrosOfTwoVariables) {
    expect_rows({
        {"[3, 4].all(i, v, v == i + 3)", "true"},
        {"{'a': 1}.exists(k, v, k == 'a' && v == 1)", "true"},
        {"[3, 4].existsOne(i, v, i == 1)", "true"},
        {"[3, 4].exists_one(i, v, i > 1)", "false"},
        {"[3, 4].transformList(i, v, i * v)", "[0, 4]"},
        {"[3, 4].transformList(i, v, i > 0, v)", "[4]"},
        {"{'a': 1}.transformMap(k, v, v + 1)", "{'a': 2}"},
        {"{'a': 1, 'b': 2}.transformMap(k, v, v > 1, k)", "{'b': 'b'}"},
        {"{'a': 1}.transformMapEntry(k, v, {v: k})", "{1: 'a'}"},
        {"[1, 1].transformMapEntry(i, v, {v: i})", "error: insert failed: key 1 already exists"},
    });
}

TEST(CelLanguage, Optionals) {
    expect_rows({
        {"optional.of(1).value()", "1"},
        {"optional.none().value()", "error: optional.none() dereference"},
        {"optional.none().hasValue()", "false"},
        {"optional.ofNonZeroValue('')", "optional.none()"},
        {"optional.ofNonZeroValue([1])", "optional([1])"},
        {"{'a': {'b': 1}}.?a.b", "optional(1)"},
        {"{'a': {'b': 1}}.?x.b", "optional.none()"},
        {"{'a': 1}[?'a'].orValue(2) + {'a': 1}[?'b'].orValue(2)", "3"},
        {"[1][?0].or(optional.of(5))", "optional(1)"},
        {"[1][?7].or(optional.of(5))", "optional(5)"},
        {"optional.of(1).or(optional.of(1 / 0))", "optional(1)"},
        {"optional.of(1).optMap(v, v + 1)", "optional(2)"},
        {"optional.none().optMap(v, v)", "optional.none()"},
        {"optional.of(1).optFlatMap(v, optional.of(v + 1)).optMap(v, v * 2)", "optional(4)"},
        {"optional.of(1).optMap(v, optional.of(v).optMap(w, v + w))", "optional(optional(2))"},
        {"[1, ?optional.of(2), ?optional.none()]", "[1, 2]"},
        {"{'a': 1, ?'b': optional.none(), ?'c': optional.of(3)}", "{'a': 1, 'c': 3}"},
        {"{'a': 1, ?'b': optional.of(2)}.b", "2"},
        {"[?dyn(1)]", "error: cannot initialize optional list element from non-optional value 1"},
        {"has({'a': {'b': 1}}.?a.b)", "true"},
        {"{'a': dyn(0)}.?a.absent.hasValue()", "error: no such overload"},
    });
}

TEST(CelLanguage, Conversions) {
    expect_rows({
        {"int('-42') + int(3.9) + int(7u) + int('+5')", "-27"},
        {"int('a')", "error: strconv.ParseInt: parsing \"a\": invalid syntax"},
        {"int(1e99)", "error: integer overflow"},
        {"int(18446744073709551615u)", "error: integer overflow"},
        {"int(timestamp('2004-09-16T23:59:59Z'))", "1095379199"},
        {"uint(3.9) + uint('4')", "7u"},
        {"uint(-1)", "error: unsigned integer overflow"},
        {"double('1.5') + double(2) + double(3u)", "6.5"},
        {"double('x')", "error: strconv.ParseFloat: parsing \"x\": invalid syntax"},
        {"bool('true') && !bool('F')", "true"},
        {"bool('yes')", "error: strconv.ParseBool: parsing \"yes\": invalid syntax"},
        {"string(123) + string(1u) + string(true) + string(-4.5e-3)", "'1231true-0.0045'"},
        {"string(1e6) + ' ' + string(123456.0) + ' ' + string(1e-5)", "'1e+06 123456 1e-05'"},
        {"string(b'abc')", "'abc'"},
        {"string(b'\\xff')", "error: invalid UTF-8 in bytes, cannot convert to string"},
        {"string(timestamp('2009-02-13T23:31:30.50Z'))", "'2009-02-13T23:31:30.5Z'"},
        {"string(duration('1h30m0.5s'))", "'5400.5s'"},
        {"bytes('é')", "b'é'"},
        {"int(dyn([]))", "error: no such overload: int(list)"},
    });
}

TEST(CelLanguage, Variables) {
    int calls = 0;
    SimpleActivation activation({{"a", Value::integer(1)}});
    activation.set_lazy("b", [&calls]() -> Result<Value> {
        ++calls;
        return Value::integer(2);
    });
    activation.set_lazy("bad", []() -> Result<Value> { return make_error(Code::kInternal, "no luck"); });
    const Environment environment({{"a", Type::integer()}, {"b", Type::integer()}, {"bad", Type::integer()},
                                   {"missing", Type::integer()}});
    const auto run = [&](const char* expression) {
        const Evaluation done = environment.compile(expression)->evaluate(activation);
        return done.value ? rendered(*done.value) : "error: " + done.value.error().message;
    };
    EXPECT_EQ(run("a == 1 || b == 3"), "true");
    EXPECT_EQ(calls, 0);
    EXPECT_EQ(run("a + b + b"), "5");
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(run("bad + 1"), "error: no luck");
    EXPECT_EQ(run("missing + 1"), "error: no such attribute(s): missing");
}

}  // namespace
}  // namespace sluice::cel
