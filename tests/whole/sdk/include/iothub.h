/* Declarations in the shape of the SDK's, so that the samples can be compiled without it. */
#ifndef SHAPE_IOTHUB_H
#define SHAPE_IOTHUB_H
int IoTHub_Init(void);
void IoTHub_Deinit(void);
#endif
