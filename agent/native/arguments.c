// From JavaScript values to C and back.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sys.h"

#define MAX_VECTOR 4096

bool sys_integer(JSContext *ctx, JSValueConst value, int64_t low, int64_t high, int64_t *out) {
  double number;
  if (!JS_IsNumber(value) || JS_ToFloat64(ctx, &number, value) < 0) {
    JS_ThrowTypeError(ctx, "sys: not a number");
    return false;
  }
  // Beyond 2^53 a double no longer says which integer is meant.
  if (number != trunc(number) || number < (double)low || number > (double)high || fabs(number) > 9007199254740991.0) {
    JS_ThrowRangeError(ctx, "sys: integer out of range");
    return false;
  }
  *out = (int64_t)number;
  return true;
}

bool sys_int(JSContext *ctx, JSValueConst value, int low, int high, int *out) {
  int64_t wide;
  if (!sys_integer(ctx, value, low, high, &wide)) return false;
  *out = (int)wide;
  return true;
}

const char *sys_text(JSContext *ctx, JSValueConst value) {
  if (!JS_IsString(value)) {
    JS_ThrowTypeError(ctx, "sys: not a string");
    return NULL;
  }
  size_t length;
  const char *text = JS_ToCStringLen(ctx, &length, value);
  if (!text) return NULL;
  if (strlen(text) != length) {
    JS_FreeCString(ctx, text);
    JS_ThrowRangeError(ctx, "sys: NUL in a string");
    return NULL;
  }
  return text;
}

bool sys_bytes(JSContext *ctx, JSValueConst value, uint8_t **bytes, size_t *length) {
  size_t offset, size, element, whole;
  JSValue buffer = JS_GetTypedArrayBuffer(ctx, value, &offset, &size, &element);
  if (JS_IsException(buffer)) return false;
  uint8_t *start = JS_GetArrayBuffer(ctx, &whole, buffer);
  JS_FreeValue(ctx, buffer); // The typed array keeps it alive.
  if (!start && whole > 0) return false;
  if (element != 1 || offset > whole || size > whole - offset) {
    JS_ThrowTypeError(ctx, "sys: not a Uint8Array");
    return false;
  }
  // An empty buffer has no address; calls that take a length of 0 must still get one.
  static uint8_t nothing;
  *bytes = start ? start + offset : &nothing;
  *length = size;
  return true;
}

void sys_free_vector(char **vector) {
  for (char **each = vector; each && *each; each++) {
    explicit_bzero(*each, strlen(*each));
    free(*each);
  }
  free(vector);
}

char **sys_vector(JSContext *ctx, JSValueConst value) {
  int64_t count;
  JSValue length = JS_GetPropertyStr(ctx, value, "length");
  bool counted = sys_integer(ctx, length, 0, MAX_VECTOR, &count);
  JS_FreeValue(ctx, length);
  if (!counted) return NULL;
  char **vector = calloc((size_t)count + 1, sizeof *vector);
  if (!vector) {
    JS_ThrowOutOfMemory(ctx);
    return NULL;
  }
  for (int64_t at = 0; at < count; at++) {
    uint8_t *bytes;
    size_t size;
    JSValue item = JS_GetPropertyUint32(ctx, value, (uint32_t)at);
    bool good = sys_bytes(ctx, item, &bytes, &size);
    if (good && memchr(bytes, 0, size)) {
      JS_ThrowRangeError(ctx, "sys: NUL in an argument");
      good = false;
    }
    if (good && !(vector[at] = malloc(size + 1))) {
      JS_ThrowOutOfMemory(ctx);
      good = false;
    }
    if (good) {
      memcpy(vector[at], bytes, size);
      vector[at][size] = 0;
    }
    JS_FreeValue(ctx, item);
    if (!good) {
      sys_free_vector(vector);
      return NULL;
    }
  }
  return vector;
}

JSValue sys_result(JSContext *ctx, int64_t result) { return JS_NewInt64(ctx, result < 0 ? -errno : result); }

JSValue sys_new_bytes(JSContext *ctx, const void *bytes, size_t length) {
  JSValue buffer = JS_NewArrayBufferCopy(ctx, bytes, length);
  if (JS_IsException(buffer)) return buffer;
  // The constructor reads all three of its arguments.
  JSValueConst arguments[] = {buffer, JS_UNDEFINED, JS_UNDEFINED};
  JSValue array = JS_NewTypedArray(ctx, COUNT(arguments), arguments, JS_TYPED_ARRAY_UINT8);
  JS_FreeValue(ctx, buffer);
  return array;
}
